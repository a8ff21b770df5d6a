"""Changes that cannot have their lock: behind a transaction that stays open, and where transactions overlap.

``python -m benchmarks.blocked [--minutes 10] [--write]``. Four clients read and write meanwhile. How long
they wait for a lock on a table is PostgreSQL's own word: with ``deadlock_timeout`` at 5 ms its log names
every wait that lasts longer (``log_lock_waits``). Plain Alembic behind a transaction of six seconds shows
that it does.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.changes import CHANGES, ROWS, SCHEMA
from benchmarks.load import load
from benchmarks.online import PROCESSES, migrate
from benchmarks.online_report import Scale, write_section
from project import Project
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Waits for a lock that are longer than this are counted, in milliseconds.
DELAYED = 5
#: The longest that a statement of a client may take where transactions overlap, in seconds.
BUDGET = 0.25
#: Not counted: with the usual deadlock_timeout of 1 s the migrator's lock_timeout ends a deadlock first.
_DEADLOCK = "40P01"
_TITLE = "## Changes that cannot have their lock"
SETTINGS = ("fsync=off", "synchronous_commit=off", f"deadlock_timeout={DELAYED}ms", "log_lock_waits=on",
            "log_line_prefix=%a ")  # fmt: skip
SCALE = Scale(posts=20_000, votes=100_000, users=1_000)
_WAITED = re.compile(
    r"^client LOG:  process \d+ (?:still waiting for|acquired) \w+ on relation .*", re.MULTILINE
)


@contextmanager
def _open_transaction(cluster: Cluster, database: str, seconds: float) -> Iterator[list[int]]:
    """Somebody's transaction, which has read posts and written votes, open for so long. Gives how much of the
    server's log was written when it ended.
    """
    ended: list[int] = []
    with cluster.connect(database, autocommit=False) as other:
        other.execute("SELECT FROM posts LIMIT 1")
        other.execute("UPDATE votes SET created_at = created_at WHERE user_id = 1")

        def end() -> None:
            time.sleep(seconds)
            ended.append(len(cluster.log()))
            other.rollback()

        thread = threading.Thread(target=end)
        thread.start()
        yield ended
        thread.join()


@contextmanager
def _overlapping(cluster: Cluster, database: str, seconds: float) -> Iterator[list[int]]:
    """Transactions that read posts and stay open for so long, three at any time."""
    done = threading.Event()

    def one(offset: float) -> None:
        with cluster.connect(database, autocommit=False) as connection:
            time.sleep(offset)
            while not done.is_set():
                connection.execute("SELECT FROM posts LIMIT 1")
                time.sleep(seconds)
                connection.rollback()

    threads = [threading.Thread(target=one, args=(number * seconds / 3,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield []
    finally:
        done.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class _Seen:
    """What became of a change, and of the clients meanwhile. Times in seconds."""

    took: float
    stall: float
    failed: int
    """Statements of clients that ended in an error."""
    delayed: int
    """Waits of clients for a table that were longer than DELAYED, while the transaction was open."""
    delayed_at_it: int
    """The same at the change itself, once the transaction had ended."""


def _change(
    cluster: Cluster, template: str, name: str, minutes: float | None, *, plain: bool = False
) -> _Seen:
    """Run a change behind a transaction that is open for so long; None: among transactions that overlap."""
    change = next(one for one in CHANGES if one.name == name)
    database = cluster.create_database(template=template)
    before = len(cluster.log())
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder, "project"), cluster.url(database, "psycopg"))
        project.revision(change.upgrade)
        pipe, theirs = PROCESSES.Pipe()
        migrator = PROCESSES.Process(
            target=migrate, args=(str(project.folder), project.url, plain, None, theirs)
        )
        migrator.start()
        theirs.close()
        pipe.recv()
        with load(cluster.url(database), posts=SCALE.posts, users=SCALE.users, think=0.005) as seen:
            time.sleep(1)
            held = (
                _overlapping(cluster, database, 0.2)
                if minutes is None
                else _open_transaction(cluster, database, minutes * 60)
            )
            with held as ended_at:
                time.sleep(0.5)
                pipe.send(None)
                started, ended, error = pipe.recv()
            time.sleep(0.2)
        migrator.join()
    if error:
        raise SystemExit(f"{name} failed: {error}")
    samples = seen.between(started, ended)
    log = cluster.log()
    until = ended_at[0] if ended_at else len(log)
    return _Seen(
        ended - started,
        max(sample.took for sample in samples),
        sum(not sample.error.startswith(_DEADLOCK) for sample in samples if sample.error),
        len(_WAITED.findall(log[before:until])),
        len(_WAITED.findall(log[until:])),
    )


def _judged(lines: list[str], line: str, *misses: str) -> int:
    """Print a line of the result, keep it, and return how many of its bars are missed."""
    lines.append(line)
    print(line, flush=True)
    found = [miss for miss in misses if miss]
    for miss in found:
        print(f"    MISSED: {miss}", flush=True)
    return len(found)


def _among_others(cluster: Cluster, template: str, lines: list[str]) -> int:
    missed = 0
    for name in ("add_constant", "set_not_null", "foreign_key", "widen_posts_id"):
        seen = _change(cluster, template, name, None)
        missed += _judged(
            lines,
            f"{name}, transactions of 200 ms overlap: through after {seen.took:.1f} s; longest statement of "
            f"a client {seen.stall * 1000:.0f} ms; {seen.failed} failed",
            f"a stall of more than {BUDGET * 1000:.0f} ms" if seen.stall > BUDGET else "",
            "statements of clients failed" if seen.failed else "",
        )
    return missed


def _behind_one(cluster: Cluster, template: str, minutes: float, lines: list[str]) -> int:
    missed = 0
    for who, plain, length in (("plain Alembic", True, 0.1), ("Lockstep", False, minutes)):
        seen = _change(cluster, template, "add_constant", length, plain=plain)
        missed += _judged(
            lines,
            f"{who}, add_constant, behind a transaction open for {length:g} min: {seen.took:.0f} s; waits of "
            f"clients for a table of more than {DELAYED} ms: {seen.delayed} while it was open, "
            f"{seen.delayed_at_it} at the change; longest statement of a client {seen.stall * 1000:.0f} ms; "
            f"{seen.failed} failed",
            "clients waited" if seen.delayed and not plain else "",
            "no wait behind plain Alembic was seen: the log does not tell"
            if plain and not seen.delayed
            else "",
            "statements of clients failed" if seen.failed and not plain else "",
        )
    return missed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocked", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long the transaction stays open")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    cluster = Cluster(18, SETTINGS)
    lines: list[str] = []
    try:
        template = cluster.create_database()
        with cluster.connect(template) as connection:
            connection.execute(SCHEMA)
            connection.execute(ROWS.format(**asdict(SCALE)))
        missed = _among_others(cluster, template, lines)
        missed += _behind_one(cluster, template, options.minutes, lines)
    finally:
        cluster.remove()
    if options.write:
        said = (
            f"`make bench-blocked`: {SCALE.posts:,} posts, {SCALE.votes:,} votes; four clients read and "
            f"write. Bars: no statement of theirs takes more than {BUDGET * 1000:.0f} ms among transactions "
            f"that overlap; none waits more than {DELAYED} ms for a table while a transaction is open.\n\n"
        )
        write_section(said + "\n".join(f"- {line}" for line in lines), _TITLE)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
