"""Parts of `make bench`: lists, posts and votes, against the limit, a naive twin, and themselves."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks.http_load import Request
from benchmarks.measuring import Run, check
from benchmarks.site import ABSENT, COMMON, RARE, Site, amounts
from folkmoot.commands.made_up import Amounts
from folkmoot.pages.discussion import COMMENTS
from folkmoot.pages.front import POSTS
from folkmoot.posts import comment_queries, posts, votes
from folkmoot.posts.list_queries import Sort, Which, in_order

if TYPE_CHECKING:
    from benchmarks.report import Part
    from folkmoot.postgres.statement import Statement

#: How many comments a page of the API has here.
_THREAD = 100
WORDS = {"a word in 1%": COMMON, "a word in 0.01%": RARE, "a word in none": ABSENT}


def _with(statement: Statement, **values: str) -> str:
    """A statement with its parameters replaced by what pgbench understands."""
    arguments = statement.arguments(values)
    return re.sub(r"\$(\d+)", lambda found: str(arguments[int(found[1]) - 1]), statement.sql)


def _statements(*, reader: bool) -> dict[str, str]:
    """What the routes run for their first page and for one post."""
    who = {"person": ":user" if reader else "NULL", "session": ":session" if reader else "NULL"}
    first = {"id": str(2**63 - 1), "votes": str(2**31 - 1), "hot": "'Infinity'", "snapshot": "NULL"}
    found = {
        sort.value: _with(in_order(sort, known=reader, owner=False), **who, **first, count=":count")
        for sort in Sort
    }
    one = posts.ONE if reader else posts.ONE_FOR_NOBODY
    thread = comment_queries.THREAD if reader else comment_queries.THREAD_FOR_NOBODY
    return {
        **found,
        "one post": _with(one, **who, post=":post"),
        f"{_THREAD} comments": _with(thread, **who, post=":discussed", after="'{}'", count=str(_THREAD + 1)),
    }


def _pages(*, reader: bool) -> tuple[str, str]:
    """What the pages' routes run: the front page, and a post with its comments."""
    who = {"person": ":user" if reader else "NULL", "session": ":session" if reader else "NULL"}
    first = {"id": str(2**63 - 1), "hot": "'Infinity'", "snapshot": "NULL"}
    hot = in_order(Sort.hot, known=reader, owner=False, which=Which.published)
    one = _with(posts.ONE if reader else posts.ONE_FOR_NOBODY, **who, post=":discussed")
    thread = comment_queries.THREAD if reader else comment_queries.THREAD_FOR_NOBODY
    said = _with(thread, **who, post=":discussed", after="'{}'", count=str(COMMENTS + 1))
    return _with(hot, **who, **first, count=str(POSTS + 1)), f"{one};\n{said}"


def shares(run: Run, part: Part) -> None:
    """Each route's share of the limit."""
    site, _ = run.usual
    random = Random(1)
    published = [n for n in random.sample(range(1, site.amounts.posts), 1000) if (n - 1) % 50 != 7]
    part.head(
        "Share of the limit", "route", "requests/s", "no-op requests/s", "pgbench tps", "share", "at least"
    )
    for reader in (False, True):
        tokens = site.tokens[:1000] if reader else ["-"] * 1000
        for name, statement in _statements(reader=reader).items():
            paths = {
                "one post": [f"/posts/{n}" for n in published],
                f"{_THREAD} comments": [f"/posts/{site.discussed}/comments?limit={_THREAD}"],
            }.get(name, [f"/posts?sort={name}"])
            requests = [Request(paths[n % len(paths)], token) for n, token in enumerate(tokens)]
            _share(run, f"{name}, {'logged in' if reader else 'anonymous'}", requests, statement, part)
    _shares_of_pages(run, part)
    anywhere = [n for n in range(1, site.amounts.posts + 1) if (n - 1) % 50 != 7]
    every = [
        Request(f"/posts/{random.choice(anywhere)}/vote", random.choice(site.tokens), "PUT")
        for _ in range(100_000)
    ]
    _share(
        run,
        "casting a vote",
        every,
        _with(votes.ON_POSTS.cast, person=":user", session=":session", post=":post"),
        part,
    )


def _shares_of_pages(run: Run, part: Part) -> None:
    """The no-op of a page is its HTML: the same page, made of rows that the server has read before."""
    site, _ = run.usual
    with site.connect() as connection:
        counted = "SELECT count(*) FROM comments WHERE post_id = %s"
        said = connection.execute(counted, (site.discussed,)).fetchone()
    names = "the front page as HTML", f"a post with {said[0] if said else 0} comments as HTML"
    addresses = ("/", "/noop/front"), (f"/p/{site.discussed}", f"/noop/p/{site.discussed}")
    for reader in (False, True):
        cookies = site.cookies[:1000] if reader else ["-"]
        for name, (path, noop), statement in zip(names, addresses, _pages(reader=reader), strict=True):
            _share(
                run, f"{name}, {'logged in' if reader else 'anonymous'}",
                [Request(path, cookie) for cookie in cookies], statement, part,
                noop=run.does_nothing([Request(noop, cookie) for cookie in cookies]), least=0.30,
            )  # fmt: skip


def _share(
    run: Run,
    name: str,
    requests: list[Request],
    statement: str,
    part: Part,
    noop: float | None = None,
    least: float = 0.40,
) -> None:
    site, base = run.usual
    noop = noop or run.noop()
    route = run.load(base, requests)
    check(part, name, route)
    tps = site.pgbench(statement, run.options.seconds)
    share = route.per_second * (1 / noop + 1 / tps)
    figures = (f"{figure:.0f}" for figure in (route.per_second, noop, tps))
    part.row(name, *figures, f"{share:.2f}", f"{least:.2f}")


def twin(run: Run, part: Part) -> None:
    """The same rows in the schema of c47ecbf163d4, served naively."""
    site, base = run.usual
    columns = "people", "requests/s", "twin's requests/s", "times", "at least"
    rows = [_against_twin(run, site, base, part)]
    if run.options.thorough:
        few = run.seeded(Amounts(site.amounts.users // 10, site.amounts.posts, site.amounts.votes), part)
        with few.served() as address:
            rows.append(_against_twin(run, few, address, part))
    part.head("The first page of new against a naive twin", *columns)
    part.row(*rows[0], "100")
    for row in rows[1:]:
        part.row(*row, "")
    if rows[1:]:
        part.say(
            "\nThe people of the first line are as many as on a site whose members write five posts and give "
            "fifty votes each. With a tenth of them the twin gains: PostgreSQL 18 finds a post's votes by "
            "skipping through the key (user_id, post_id), a step for each person. The bound is for the first."
        )


def _against_twin(run: Run, site: Site, base: str, part: Part) -> tuple[str, str, str, str]:
    new = run.load(base, [Request("/posts")])
    with site.served("twin", TWIN_URL=site.twin()) as address:
        naive = run.load(address, [Request("/posts")])
    check(part, "first page of new", new)
    check(part, "first page of the twin", naive)
    times = new.per_second / naive.per_second
    return f"{site.amounts.users:,}", f"{new.per_second:.0f}", f"{naive.per_second:.1f}", f"{times:.0f}"


def pages(run: Run, part: Part) -> None:
    """A page far down each list."""
    _, base = run.usual
    nth = f"{run.options.page:,}th"
    part.head(f"The {nth} page against the first", "list", "first, ms", f"{nth}, ms", "ratio", "at most")
    for sort in Sort:
        path = f"/posts?sort={sort.value}"
        cursor = ""
        for _ in range(run.options.page - 1):
            with urlopen(f"{base}{path}{cursor}") as answer:
                found = re.search(rb'"next_cursor":"([^"]+)"}$', answer.read())
            if found is None:
                raise RuntimeError(f"{path} has no {nth} page")
            cursor = f"&cursor={found[1].decode()}"
        first, last = run.alternately((base, [Request(path)]), (base, [Request(path + cursor)]))
        part.row(sort.value, f"{first:.3f}", f"{last:.3f}", f"{last / first:.2f}", "1.2")


def search(run: Run, part: Part) -> None:
    """Words that many, few and no posts have."""
    site, base = run.usual
    _searches(run, f"{site.amounts.posts:,} posts", base, part)


def _searches(run: Run, name: str, base: str, part: Part) -> None:
    part.head(f"Search, {name}", "word", "ms", "first page of new, ms", "times", "at most")
    for word, query in WORDS.items():
        new, found = run.alternately((base, [Request("/posts")]), (base, [Request(f"/posts?q={query}")]))
        part.row(word, f"{found:.3f}", f"{new:.3f}", f"{found / new:.2f}", "4")


def growth(run: Run, part: Part) -> None:
    """The same pages on few and on many rows, both served at once and measured in turns; search on many."""
    small, large = (run.seeded(amounts(n), part) for n in run.options.grown)
    before, after = run.served(small), run.served(large)
    part.head(
        f"Growth from {small.amounts.posts:,} posts and {small.amounts.votes:,} votes to "
        f"{large.amounts.posts:,} and {large.amounts.votes:,}",
        "what", "small, ms", "large, ms", "ratio", "at most",
    )  # fmt: skip
    paths = {
        "new": "/posts", "one post": "/posts/{}", "top": "/posts?sort=top", "hot": "/posts?sort=hot",
        "one owner's": "/posts?owner={}", "one owner's top": "/posts?owner={}&sort=top",
        "comments": "/posts/{discussed}/comments?limit=100", "front page as HTML": "/",
        "new as HTML": "/?order=new", "top as HTML": "/?order=top", "a post as HTML": "/p/{discussed}",
        "a person as HTML": "/u/{}", "a search as HTML": f"/?order=new&q={COMMON}",
    }  # fmt: skip
    for name in list(paths) if run.options.thorough else ["new", "front page as HTML", "a post as HTML"]:
        for whom in ("anonymous", "logged in"):
            measured = [
                (
                    base,
                    [
                        Request(paths[name].format(site.amounts.users // 2, discussed=site.discussed), who)
                        for who in _readers(site, whom, html="HTML" in name)
                    ],
                )
                for base, site in ((before, small), (after, large))
            ]
            least, most = run.alternately(*measured)
            part.row(f"{name}, {whom}", f"{least:.3f}", f"{most:.3f}", f"{most / least:.2f}", "1.25")
    if run.options.thorough:
        _searches(run, f"{large.amounts.posts:,} posts", after, part)


def _readers(site: Site, whom: str, *, html: bool) -> list[str]:
    """The pages take cookies, the API takes tokens."""
    known = site.cookies if html else site.tokens
    return known[:1000] if whom == "logged in" else ["-"]
