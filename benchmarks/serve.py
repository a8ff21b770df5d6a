"""How fast Folkmoot serves, as ratios from one run: `make bench`, or `make bench SHORT=1`.

Every number is measured on a server and a database of this run's own; the load generator, two workers and
PostgreSQL share the machine. The share of the limit of a route is its requests/s over the limit, where
1/limit = 1/(requests/s of a no-op authenticated route) + 1/(transactions/s of `pgbench -M prepared` on the
SQL that the route runs, over as many connections). Writes its section of docs/benchmarks.md unless short.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psycopg
from alembic import command
from argon2 import PasswordHasher

from benchmarks import http_load as load
from benchmarks.http_load import Request
from folkmoot import feeds, posts, revisions, votes
from folkmoot.feeds import Sort
from folkmoot.seed import Amounts, seed
from folkmoot.sessions import Caller, Tokens
from tests.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
SECRET = "benchmark" * 5
PASSWORD = "correct horse battery staple"
CONNECTIONS = 16
WORKERS = 2
USERS = 20_000
#: Durable, as shipped; a gigabyte of memory, so that what is measured is not the disk.
SETTINGS = ("shared_buffers=1GB", "max_wal_size=4GB")
#: Put into one post in a hundred, and in ten thousand, evenly.
COMMON, RARE, ABSENT = "zyxcommon", "zyxrare", "zyxabsent"


@dataclass(frozen=True)
class Options:
    """How long to measure each thing, in seconds, and on how many rows."""

    seconds: float
    amounts: Amounts
    grown: tuple[Amounts, Amounts] | None
    requests_for_memory: int


FULL = Options(
    5, Amounts(USERS, 100_000, 1_000_000),
    (Amounts(USERS, 10_000, 100_000), Amounts(USERS, 1_000_000, 10_000_000)), 200_000,
)  # fmt: skip
SHORT = Options(1, Amounts(USERS, 10_000, 100_000), None, 10_000)


class Site:
    """A database with its rows, and what is needed to talk to the server on it."""

    def __init__(self, cluster: Cluster, amounts: Amounts) -> None:
        self.cluster, self.amounts = cluster, amounts
        self.database = cluster.create_database()
        self.url = cluster.url(self.database)
        os.environ["DATABASE_URL"] = self.url
        command.upgrade(revisions.config(), "head")
        with cluster.connect(self.database) as connection:
            began = time.monotonic()
            seed(connection, amounts, password_hash=PasswordHasher().hash(PASSWORD))
            self.seeded = time.monotonic() - began
            for word, every in ((COMMON, 100), (RARE, 10_000)):
                connection.execute(
                    "UPDATE posts SET content = content || ' ' || %s WHERE id %% %s = 7", (word, every)
                )
            connection.execute(
                "INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at) "
                "SELECT id, '', '', now() + interval '1 day' FROM users ORDER BY id"
            )
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
            self.people = connection.execute("SELECT user_id, id FROM sessions ORDER BY user_id").fetchall()
            self.emails = [row[0] for row in connection.execute("SELECT email FROM users LIMIT 100")]
        tokens = Tokens(SECRET, timedelta(days=1))
        #: The server's process by its address.
        self.pids: dict[str, int] = {}
        self.tokens = [tokens.write(Caller(user, session)) for user, session in self.people]

    @contextmanager
    def served(self, application: str = "measured", **environment: str) -> Iterator[str]:
        """Serve with Granian, as `folkmoot serve` does, and give the address."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "granian"), "--interface", "asgi", "--factory", "--no-ws",
                "--workers", str(WORKERS), "--port", str(port), "--log-level", "warning",
                f"benchmarks.apps:{application}",
            ],
            cwd=ROOT, start_new_session=True,
            env={**os.environ, "DATABASE_URL": self.url, "SECRET_KEY": SECRET, "LOG_LEVEL": "warning"}
            | environment,
        )  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{base}/posts")
            self.pids[base] = process.pid
            yield base
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    def pgbench(self, statement: str, seconds: float) -> float:
        """Transactions/s of a statement; ``:user``, ``:session`` and ``:post`` are drawn anew each time."""
        first, last = self.people[0], self.people[-1]
        offset = first[1] - first[0]
        script = (
            f"\\set user random({first[0]}, {last[0]})\n\\set session :user + {offset}\n"
            f"\\set post random(1, {self.amounts.posts})\n\\set count 11\n{statement};\n"
        )
        with tempfile.NamedTemporaryFile("w", suffix=".sql", delete=False) as file:
            file.write(script)
        done = subprocess.run(
            [
                str(self.cluster.bin / "pgbench"), "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1",
                "-T", str(max(round(seconds), 1)), "-f", file.name, self.url,
            ],
            env={**os.environ, "PGOPTIONS": "-c plan_cache_mode=force_generic_plan"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"pgbench failed: {done.stderr}")
        return float(found[1])


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url} does not answer")


def _with(query: str, *values: str) -> str:
    """A statement with its parameters replaced by what pgbench understands."""
    return re.sub(r"\$(\d+)", lambda found: values[int(found[1]) - 1], query)


def _statements(*, reader: bool) -> dict[str, str]:
    """What the routes run for their first page, for one post and for a vote."""
    who = (":user", ":session") if reader else ("NULL", "NULL")
    key = {
        Sort.new: (str(2**63 - 1),),
        Sort.top: (str(2**31 - 1), str(2**63 - 1), "NULL"),
        Sort.hot: ("'Infinity'", str(2**63 - 1), "NULL"),
    }
    found = {
        sort.value: _with(feeds.list_query(sort, reader=reader, owner=False), *who, ":count", *key[sort])
        for sort in Sort
    }
    one = posts.ONE_FOR_CALLER if reader else posts.ONE
    return {**found, "one post": _with(one, who[0], ":post", who[1])}


def shares(site: Site, base: str, seconds: float, report: Report) -> None:
    random = Random(1)
    some = [random.randrange(len(site.tokens)) for _ in range(1000)]
    noop = load.run(base, [Request("/noop", site.tokens[n]) for n in some], seconds=seconds)
    report.head(
        "Share of the limit", "route", "requests/s", "no-op requests/s", "pgbench tps", "share", "at least"
    )
    ids = [random.randint(1, site.amounts.posts) for _ in range(1000)]
    published = [n for n in ids if (n - 1) % 50 != 7]
    for reader in (False, True):
        tokens = [site.tokens[n] if reader else "-" for n in some]
        for name, statement in _statements(reader=reader).items():
            one = name == "one post"
            paths = [f"/posts/{n}" for n in published] if one else [f"/posts?sort={name}"]
            requests = [Request(paths[n % len(paths)], token) for n, token in enumerate(tokens)]
            whom = "logged in" if reader else "anonymous"
            _share(site, base, f"{name}, {whom}", requests, statement, seconds, noop, report)
    every = [
        Request(f"/posts/{random.choice(published)}/vote", random.choice(site.tokens), "PUT")
        for _ in range(200_000)
    ]
    statement = _with(votes.CAST, ":user", ":post", ":session")
    _share(site, base, "casting a vote", every, statement, seconds, noop, report)


def _share(
    site: Site, base: str, name: str, requests: list[Request], statement: str, seconds: float,
    noop: load.Result, report: Report,
) -> None:  # fmt: skip
    route = load.run(base, requests, seconds=seconds)
    report.failed(name, route)
    tps = site.pgbench(statement, seconds)
    limit = 1 / (1 / noop.per_second + 1 / tps)
    share = route.per_second / limit
    report.row(
        name, f"{route.per_second:.0f}", f"{noop.per_second:.0f}", f"{tps:.0f}", f"{share:.2f}", "0.40"
    )


def against_the_twin(site: Site, base: str, seconds: float, report: Report) -> None:
    """The same rows in the schema of c47ecbf163d4, served naively."""
    name = site.cluster.create_database()
    os.environ["DATABASE_URL"] = twin_url = site.cluster.url(name)
    command.upgrade(revisions.config(), "c47ecbf163d4")
    with psycopg.connect(site.url) as source, psycopg.connect(twin_url, autocommit=True) as target:
        for table, columns in {
            "users": "id, email, password, created_at",
            "posts": "id, title, content, published, created_at, owner_id",
            "votes": "user_id, post_id",
        }.items():
            with (
                source.cursor().copy(f"COPY {table} ({columns}) TO STDOUT".encode()) as rows,
                target.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
            ):
                for data in rows:
                    copy.write(data)
        target.execute("VACUUM (ANALYZE)")
    new = load.run(base, [Request("/posts")], seconds=seconds).per_second
    with site.served("twin", TWIN_URL=twin_url) as address:
        naive = load.run(address, [Request("/posts")], seconds=max(seconds, 5)).per_second
    report.head("Against the naive twin", "what", "requests/s", "twin's requests/s", "times", "at least")
    report.row("first page of new", f"{new:.0f}", f"{naive:.1f}", f"{new / naive:.0f}", "100")


def medians(base: str, site: Site, seconds: float) -> dict[str, float]:
    """The median time of one request after another, in milliseconds."""
    member = site.tokens[len(site.tokens) // 2]
    owner = site.people[len(site.people) // 2][0]
    paths = {
        "new": "/posts", "top": "/posts?sort=top", "hot": "/posts?sort=hot",
        "one owner's": f"/posts?owner={owner}",
        "one owner's top": f"/posts?owner={owner}&sort=top", "one post": f"/posts/{site.amounts.posts // 2}",
        "a word in 1%": f"/posts?q={COMMON}", "a word in 0.01%": f"/posts?q={RARE}",
        "a word in none": f"/posts?q={ABSENT}",
    }  # fmt: skip
    found = {
        name: load.run(base, [Request(path)], connections=1, seconds=seconds).p50
        for name, path in paths.items()
    }
    found["new, logged in"] = load.run(base, [Request("/posts", member)], connections=1, seconds=seconds).p50
    return found


def deep_pages(base: str, seconds: float, report: Report) -> None:
    report.head("The 1,000th page against the first", "list", "first, ms", "1,000th, ms", "ratio", "at most")
    for sort in Sort:
        cursor = ""
        for _ in range(999):
            with urlopen(f"{base}/posts?sort={sort.value}{cursor}") as answer:
                found = re.search(rb'"next_cursor":"([^"]+)"}$', answer.read())
            if found is None:
                return
            cursor = f"&cursor={found[1].decode()}"
        path = f"/posts?sort={sort.value}"
        first = load.run(base, [Request(path)], connections=1, seconds=seconds).p50
        last = load.run(base, [Request(path + cursor)], connections=1, seconds=seconds).p50
        report.row(sort.value, f"{first:.3f}", f"{last:.3f}", f"{last / first:.2f}", "1.2")


def searches(name: str, times: dict[str, float], report: Report) -> None:
    report.head(f"Search, {name}", "word", "ms", "first page of new, ms", "times", "at most")
    for word in ("a word in 1%", "a word in 0.01%", "a word in none"):
        report.row(
            word, f"{times[word]:.3f}", f"{times['new']:.3f}", f"{times[word] / times['new']:.2f}", "4"
        )


def growth(small: dict[str, float], large: dict[str, float], report: Report) -> None:
    report.head(
        "Growth from 10,000 posts and 100,000 votes to 1,000,000 and 10,000,000",
        "what", "small, ms", "large, ms", "ratio", "at most",
    )  # fmt: skip
    for name, before in small.items():
        if not name.startswith("a word"):
            after = large[name]
            report.row(name, f"{before:.3f}", f"{after:.3f}", f"{after / before:.2f}", "1.25")


def storm(site: Site, base: str, seconds: float, report: Report) -> None:
    """The feed's p99 while people log in as fast as eight connections can."""
    feed = [Request("/posts")]
    logins = [
        Request("/login", method="POST", body=f"username={email}&password={PASSWORD.replace(' ', '+')}")
        for email in site.emails
    ]
    idle = load.run(base, feed, connections=4, seconds=seconds)
    background = load.start(base, logins, connections=8, seconds=seconds + 3)
    busy = load.run(base, feed, connections=4, seconds=seconds)
    stormed = load.finish(background)
    report.failed("logins", stormed)
    report.head(
        "The feed during a storm of logins",
        "feed's p99 idle, ms", "in the storm, ms", "ratio", "at most", "logins/s",
    )  # fmt: skip
    report.row(
        f"{idle.p99:.2f}", f"{busy.p99:.2f}", f"{busy.p99 / idle.p99:.2f}", "3", f"{stormed.per_second:.0f}"
    )


def memory(site: Site, base: str, amount: int, report: Report) -> None:
    """The workers' resident memory while requests of every kind come in."""
    paths = ("/posts", "/posts?sort=top", "/posts?sort=hot", "/posts/1", f"/posts?q={COMMON}")
    requests = [Request(path, token) for token in site.tokens[:50] for path in paths]
    report.head("Memory of the workers, MiB", "after requests", "resident memory of each")
    done = 0
    for share in (0.1, 0.4, 0.7, 1.0):
        while done < amount * share:
            done += load.finish(load.start(base, requests, connections=CONNECTIONS, seconds=2)).requests
        server = site.pids[base]
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        sizes = [
            int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096 / 2**20 for child in children
        ]
        report.row(f"{done}", ", ".join(f"{size:.1f}" for size in sorted(sizes, reverse=True)[:WORKERS]))


class Report:
    """Prints tables as they come, and keeps them for the document."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures = 0

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def head(self, title: str, *columns: str) -> None:
        self.say(f"\n### {title}\n")
        self.row(*columns)
        self.row(*("---" for _ in columns))

    def row(self, *cells: str) -> None:
        self.say("| " + " | ".join(cells) + " |")

    def failed(self, name: str, result: load.Result) -> None:
        if result.failed:
            self.failures += result.failed
            self.say(f"{name}: {result.failed} of {result.requests} requests failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small and quick: shows that it runs")
    parser.add_argument("--no-growth", action="store_true", help="leave out the database of a million posts")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    options = SHORT if arguments.short else FULL
    report = Report()
    cluster = Cluster(18, SETTINGS)
    try:
        site = Site(cluster, options.amounts)
        amounts = options.amounts
        report.say(
            f"{amounts.posts:,} posts, {amounts.votes:,} votes, {amounts.users:,} people (seeded in "
            f"{site.seeded:.0f} s); {os.cpu_count()} cores for the load generator ({load.generator()}), "
            f"{WORKERS} workers and PostgreSQL 18; {CONNECTIONS} connections."
        )
        with site.served() as base:
            shares(site, base, options.seconds, report)
            against_the_twin(site, base, options.seconds, report)
            deep_pages(base, options.seconds / 2, report)
            searches(f"{amounts.posts:,} posts", medians(base, site, options.seconds / 2), report)
            storm(site, base, options.seconds, report)
            memory(site, base, options.requests_for_memory, report)
        if options.grown and not arguments.no_growth:
            times = []
            for amounts in options.grown:
                site = Site(cluster, amounts)
                with site.served() as base:
                    times.append(medians(base, site, options.seconds / 2))
            searches(f"{amounts.posts:,} posts", times[1], report)
            growth(*times, report)
    finally:
        cluster.remove()
    if not arguments.short:
        _write(report)
    return 1 if report.failures else 0


def _write(report: Report) -> None:
    begin, end = "<!-- serve: begin -->", "<!-- serve: end -->"
    text = DOCUMENT.read_text() if DOCUMENT.exists() else f"# Benchmarks\n\n{begin}\n{end}\n"
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    note = (
        "Written by `make bench`. A share can be above 1: the no-op route checks a login, an anonymous read "
        "does not."
    )
    section = "\n".join([begin, "## Serving", "", note, "", *report.lines, end])
    DOCUMENT.write_text(text[: text.index(begin)] + section + text[text.index(end) + len(end) :])


if __name__ == "__main__":
    sys.exit(main())
