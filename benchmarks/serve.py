"""How fast Folkmoot serves, as ratios from one run: `make bench`, or `make bench SHORT=1`.

Every number is measured on a server and a database of this run's own; the load generator, two workers and
PostgreSQL share the machine. The share of the limit of a route is its requests/s over the limit, where
1/limit = 1/(requests/s of a no-op authenticated route) + 1/(transactions/s of `pgbench -M prepared` on the
SQL that the route runs, over as many connections). Each part writes its tables into docs/benchmarks.md,
unless the run is short. Exits with 1 where a request or a part fails or, when not short, a figure misses its
bound.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from random import Random
from statistics import median
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks import http_load as load
from benchmarks.http_load import Request
from benchmarks.report import Part
from benchmarks.site import ABSENT, COMMON, CONNECTIONS, PASSWORD, RARE, WORKERS, Site, amounts
from folkmoot.commands.made_up import Amounts
from folkmoot.posts import posts, votes
from folkmoot.posts.list_queries import Sort, in_order
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from folkmoot.postgres.statement import Statement

#: Durable, as shipped; a gigabyte of memory, so that what is measured is not the disk.
SETTINGS = ("shared_buffers=1GB", "max_wal_size=8GB", "maintenance_work_mem=512MB")
WORDS = {"a word in 1%": COMMON, "a word in 0.01%": RARE, "a word in none": ABSENT}


@dataclass(frozen=True)
class Options:
    """How long to measure each thing, in seconds, how often, and on how many rows."""

    #: Warm up, measure every part of each comparison anew, and leave nothing out.
    thorough: bool
    seconds: float
    rounds: int
    #: How many rounds of one request after another: their medians differ by where the processes run.
    turns: int
    posts: int
    grown: tuple[int, int]
    page: int
    requests: int


FULL = Options(
    thorough=True, seconds=3, rounds=3, turns=7, posts=100_000, grown=(10_000, 1_000_000),
    page=1000, requests=200_000,
)  # fmt: skip
SHORT = Options(
    thorough=False, seconds=1, rounds=1, turns=1, posts=10_000, grown=(1000, 10_000),
    page=100, requests=5000,
)  # fmt: skip


class Run:
    """The servers of one run, each started when it is first asked for."""

    def __init__(self, options: Options, stack: ExitStack) -> None:
        self.options, self._stack = options, stack
        self._noop: float | None = None

    @cached_property
    def cluster(self) -> Cluster:
        cluster = Cluster(18, SETTINGS)
        self._stack.callback(cluster.remove)
        return cluster

    def seeded(self, rows: Amounts, part: Part) -> Site:
        site = Site(self.cluster, rows)
        part.say(
            f"{rows.posts:,} posts, {rows.votes:,} votes, {rows.users:,} people: seeded in {site.took:.0f} s."
        )
        return site

    def served(self, site: Site) -> str:
        return self._stack.enter_context(site.served())

    @cached_property
    def usual(self) -> tuple[Site, str]:
        """The site of most parts, and its address."""
        site = self.seeded(amounts(self.options.posts), Part("all"))
        return site, self.served(site)

    def load(self, base: str, requests: list[Request], connections: int = CONNECTIONS) -> load.Result:
        return load.run(
            base, requests, connections=connections, seconds=self.options.seconds,
            warm_up=self.options.thorough,
        )  # fmt: skip

    def noop(self) -> float:
        """Requests/s of a route that does nothing but check the login."""
        if self._noop is None or self.options.thorough:
            site, base = self.usual
            self._noop = self.load(base, [Request("/noop", token) for token in site.tokens[:1000]]).per_second
        return self._noop

    def alternately(self, *each: tuple[str, list[Request]]) -> list[float]:
        """The median time of one request after another, in ms, of things that are measured in turns."""
        times: list[list[float]] = [[] for _ in each]
        for _ in range(self.options.turns):
            for (base, requests), found in zip(each, times, strict=True):
                found.append(load.run(base, requests, connections=1, seconds=1, warm_up=False).p50)
        return [median(found) for found in times]


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
    return {**found, "one post": _with(one, **who, post=":post")}


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
            paths = [f"/posts/{n}" for n in published] if name == "one post" else [f"/posts?sort={name}"]
            requests = [Request(paths[n % len(paths)], token) for n, token in enumerate(tokens)]
            _share(run, f"{name}, {'logged in' if reader else 'anonymous'}", requests, statement, part)
    anywhere = [n for n in range(1, site.amounts.posts + 1) if (n - 1) % 50 != 7]
    every = [
        Request(f"/posts/{random.choice(anywhere)}/vote", random.choice(site.tokens), "PUT")
        for _ in range(100_000)
    ]
    _share(
        run,
        "casting a vote",
        every,
        _with(votes.CAST, person=":user", session=":session", post=":post"),
        part,
    )


def _share(run: Run, name: str, requests: list[Request], statement: str, part: Part) -> None:
    site, base = run.usual
    noop = run.noop()
    route = run.load(base, requests)
    _check(part, name, route)
    tps = site.pgbench(statement, run.options.seconds)
    share = route.per_second * (1 / noop + 1 / tps)
    figures = (f"{figure:.0f}" for figure in (route.per_second, noop, tps))
    part.row(name, *figures, f"{share:.2f}", "0.40")


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
    _check(part, "first page of new", new)
    _check(part, "first page of the twin", naive)
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


def storm(run: Run, part: Part) -> None:
    """The feed while as many people log in as the machine takes: some always wait for their turn."""
    site, base = run.usual
    feed = [Request("/posts")]
    form = f"&password={PASSWORD.replace(' ', '+')}"
    logins = [Request("/login", method="POST", body=f"username={email}{form}") for email in site.emails]
    alone = load.run(base, logins, connections=32, seconds=run.options.seconds, warm_up=False)
    part.head(
        "The feed during a storm of logins, 32 connections", "readers",
        "feed's p99 idle, ms", "in the storm, ms", "ratio", "at most", "logins/s", "reads/s",
    )  # fmt: skip
    for readers in (1, 4, CONNECTIONS) if run.options.thorough else (4,):
        idle, busy, stormed = [], [], []
        for _ in range(run.options.rounds):
            idle.append(run.load(base, feed, readers))
            background = load.start(base, logins, connections=32, seconds=run.options.seconds + 2)
            time.sleep(0.5)
            busy.append(run.load(base, feed, readers))
            stormed.append(load.finish(background))
        for result in stormed:
            if result.failed:
                part.fail(f"{result.failed} of {result.requests} logins failed")
        before, after = (median(result.p99 for result in results) for results in (idle, busy))
        part.row(
            str(readers), f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}", "6",
            f"{median(r.per_second for r in stormed):.0f}", f"{median(r.per_second for r in busy):.0f}",
        )  # fmt: skip
    part.say(f"\nWithout readers: {alone.per_second:.0f} logins/s.")
    part.head("One login after another beside two busy processes", "p99, ms", "median, ms", "at most")
    busy_processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        beside = load.run(base, logins, connections=1, seconds=run.options.seconds, warm_up=False)
    finally:
        for process in busy_processes:
            process.kill()
            process.wait()
    _check(part, "logins beside busy processes", beside)
    part.row(f"{beside.p99:.0f}", f"{beside.p50:.0f}", "500")


def memory(run: Run, part: Part) -> None:
    """The workers' resident memory while requests of every kind come in."""
    site, base = run.usual
    kinds = ("/posts", "/posts?sort=top", "/posts?sort=hot", "/posts/1", f"/posts?q={COMMON}", "/nowhere")
    requests = [Request(path, token) for token in site.tokens[:200] for path in kinds]
    part.head(
        "Memory of the two workers", "after requests", "resident, MiB", "against the first line", "at most"
    )
    first, done = 0.0, 0
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        while done < run.options.requests * share:
            done += load.finish(
                load.start(base, requests, connections=CONNECTIONS, seconds=run.options.seconds)
            ).requests
        sizes = site.memory(base)
        first = first or sum(sizes)
        part.row(
            f"{done:,}", " + ".join(f"{size:.1f}" for size in sizes), f"{sum(sizes) / first:.3f}", "1.05"
        )


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
    }  # fmt: skip
    for name in list(paths) if run.options.thorough else list(paths)[:2]:
        for whom in ("anonymous", "logged in"):
            measured = [
                (
                    base,
                    [Request(paths[name].format(site.amounts.users // 2), t) for t in _readers(site, whom)],
                )
                for base, site in ((before, small), (after, large))
            ]
            least, most = run.alternately(*measured)
            part.row(f"{name}, {whom}", f"{least:.3f}", f"{most:.3f}", f"{most / least:.2f}", "1.25")
    if run.options.thorough:
        _searches(run, f"{large.amounts.posts:,} posts", after, part)


def _readers(site: Site, whom: str) -> list[str]:
    return site.tokens[:1000] if whom == "logged in" else ["-"]


def _check(part: Part, name: str, result: load.Result) -> None:
    if result.failed or not result.requests:
        part.fail(f"{name}: {result.failed} of {result.requests} requests failed")


PARTS: dict[str, Callable[[Run, Part], None]] = {
    "shares": shares, "twin": twin, "pages": pages, "search": search, "storm": storm, "memory": memory,
    "growth": growth,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small and quick: shows that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run: %(default)s")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"--only takes {', '.join(PARTS)}; there is no {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    began = time.monotonic()
    missed: list[str] = []
    failures: list[str] = []
    with ExitStack() as stack:
        run = Run(SHORT if arguments.short else FULL, stack)
        for name in chosen:
            part = Part(name)
            try:
                PARTS[name](run, part)
            except Exception as error:  # noqa: BLE001 - the other parts go on
                traceback.print_exc()
                part.fail(f"ended early: {type(error).__name__}: {error}")
            if not arguments.short:
                part.say(f"\n{_circumstances(run.options)}")
                part.write()
            missed += part.missed
            failures += part.failures
            print(f"[{name}: done {time.monotonic() - began:.0f} s after the start]", flush=True)
    for line in failures:
        print(f"FAILED {line}")
    if not arguments.short:  # which is too short to hold figures against their bounds
        for line in missed:
            print(f"MISSED {line}")
        failures += missed
    return 1 if failures else 0


def _circumstances(options: Options) -> str:
    rows = amounts(options.posts)
    return (
        f"*{datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores for the load generator ({load.generator()}), "
        f"{WORKERS} workers and PostgreSQL 18. Where nothing else is said: {rows.posts:,} posts, "
        f"{rows.votes:,} votes, {rows.users:,} people, {CONNECTIONS} connections.*"
    )


if __name__ == "__main__":
    sys.exit(main())
