"""Changes that cannot have their lock: behind a transaction that stays open, and where transactions overlap.

``python -m benchmarks.blocked [--minutes 10]``. Four clients read and write meanwhile. How long they wait for
a lock on a table is PostgreSQL's own word: with ``deadlock_timeout`` at 5 ms its log names every wait that
lasts longer (``log_lock_waits``). Plain Alembic behind a transaction of six seconds shows that it does.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.changes import CHANGES, ROWS, SCHEMA
from benchmarks.load import load
from benchmarks.online import PROCESSES, migrate
from benchmarks.online_report import Scale
from project import Project
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Waits for a lock that are longer than this are counted, in milliseconds.
DELAYED = 5
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


def _change(
    cluster: Cluster, template: str, name: str, minutes: float | None, *, plain: bool = False
) -> tuple[float, float, int, int]:
    """Run a change; return how long it took, the longest statement of a client (seconds), and how many waits
    of clients for a table were longer than DELAYED: while the transaction was open, and at the change itself.
    """
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
    stall = max(sample.took for sample in seen.between(started, ended))
    log = cluster.log()
    until = ended_at[0] if ended_at else len(log)
    waits = len(_WAITED.findall(log[before:until])), len(_WAITED.findall(log[until:]))
    return ended - started, stall, *waits


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocked", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long the transaction stays open")
    minutes: float = parser.parse_args(arguments).minutes
    cluster = Cluster(18, SETTINGS)
    missed = 0
    try:
        template = cluster.create_database()
        with cluster.connect(template) as connection:
            connection.execute(SCHEMA)
            connection.execute(ROWS.format(**asdict(SCALE)))
        for name in ("add_constant", "set_not_null", "foreign_key", "widen_posts_id"):
            took, stall, _, _ = _change(cluster, template, name, None)
            print(
                f"{name}, transactions of 200 ms overlap: through after {took:.1f} s; "
                f"longest statement of a client {stall * 1000:.0f} ms",
                flush=True,
            )
            if stall > 0.25:
                missed += 1
                print("    MISSED: a stall of more than 250 ms", flush=True)
        for who, plain, length in (("plain Alembic", True, 0.1), ("Lockstep", False, minutes)):
            took, stall, delayed, at_it = _change(cluster, template, "add_constant", length, plain=plain)
            print(
                f"{who}, add_constant, behind a transaction open for {length:g} min: {took:.0f} s; "
                f"waits of clients for a table of more than {DELAYED} ms: {delayed} while it was open, "
                f"{at_it} at the change; longest statement of a client {stall * 1000:.0f} ms",
                flush=True,
            )
        missed += delayed > 0
    finally:
        cluster.remove()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
