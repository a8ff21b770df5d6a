"""Schema changes on tables in use: plain Alembic and Lockstep side by side on the same rows.

``python -m benchmarks.online [name …]``. Each change runs on its own copy of one filled database while four
clients read and write; printed are its time, the longest statement of a client, and the statements that
failed. Seeded; needs about 5 GB of disk at full size.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import wal
from benchmarks.changes import CHANGES, ROWS, SCHEMA, Change
from benchmarks.load import Load, load
from benchmarks.online_report import Result, Row, Scale, duration, section, write_section
from project import Project
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection as Pipe


#: A server as one would run it: durable, with room for its work.
SETTINGS = (
    "shared_buffers=1GB", "max_wal_size=4GB", "min_wal_size=4GB", "checkpoint_timeout=5min", "work_mem=16MB",
    "maintenance_work_mem=256MB", "fsync=on", "synchronous_commit=on", "full_page_writes=on", "autovacuum=on",
)  # fmt: skip

HELD_FOR = 10.0
PROCESSES = multiprocessing.get_context("spawn")


# -- one change -----------------------------------------------------------------------------------------


def migrate(folder: str, url: str, plain: bool, log: str | None, pipe: Pipe) -> None:  # noqa: FBT001
    """A migrator in a process of its own, ready before it is told to start."""
    if log:
        logging.basicConfig(
            filename=log, level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%T"
        )
    project = Project.__new__(Project)
    project.folder, project.url, project.run_options = Path(folder), url, {}
    project.config()
    pipe.send(None)
    pipe.recv()
    started, error = time.monotonic(), None
    try:
        project.upgrade("head", plain=plain)
    except Exception as failure:  # noqa: BLE001 (a change that plain Alembic cannot make is a result)
        error = str(failure).splitlines()[0]
    pipe.send((started, time.monotonic(), error))


@contextmanager
def _held(cluster: Cluster, database: str, *, held: bool) -> Iterator[None]:
    """Somebody else's transaction, open on both tables for ten seconds."""
    if not held:
        yield
        return
    done = threading.Event()
    with cluster.connect(database, autocommit=False) as other:
        other.execute("SELECT FROM posts LIMIT 1")
        other.execute("UPDATE votes SET created_at = created_at WHERE user_id = 1")

        def let_go() -> None:
            done.wait(HELD_FOR)
            other.rollback()

        thread = threading.Thread(target=let_go)
        thread.start()
        yield
        thread.join()


def measure(
    cluster: Cluster,
    template: str,
    change: Change,
    scale: Scale,
    *,
    plain: bool,
    held: bool,
    options: Options,
) -> Result:
    """Run a change on a copy of the template while the clients go on."""
    database = cluster.create_database(template=template)
    try:
        with cluster.connect(database) as connection:
            if change.before:
                connection.execute(change.before)
            connection.execute("VACUUM")
            connection.execute("CHECKPOINT")
        os.sync()  # the copy is on disk: its writing is not the change's
        with tempfile.TemporaryDirectory() as folder:
            project = Project(Path(folder, "project"), cluster.url(database, "psycopg"))
            project.revision(change.upgrade)
            pipe, theirs = PROCESSES.Pipe()
            log = (
                f"{options.logs}/{change.name}{'-held' if held else ''}.log"
                if options.logs and not plain
                else None
            )
            migrator = PROCESSES.Process(
                target=migrate, args=(str(project.folder), project.url, plain, log, theirs)
            )
            migrator.start()
            theirs.close()  # so that its end is noticed, should it die
            pipe.recv()
            with load(
                cluster.url(database), posts=scale.posts, users=scale.users, think=options.think
            ) as seen:
                time.sleep(1)  # every client's statements are prepared
                with _held(cluster, database, held=held):
                    pipe.send(None)
                    started, ended, error = pipe.recv()
                time.sleep(0.5)
            migrator.join()
        return _result(seen, started, ended, error)
    finally:
        cluster.drop_database(database)


def _result(seen: Load, started: float, ended: float, error: str | None) -> Result:
    # A statement prepared before the change may meet it only later.
    samples = seen.between(started, ended + 0.5)
    longest = max(samples, key=lambda sample: sample.took)
    failed = Counter(sample.error for sample in samples if sample.error)
    return Result(
        took=ended - started,
        stall=longest.took,
        stalled=f"{longest.name} at {longest.started - started:.1f} s",
        failed=failed,
        retried=sum(sample.retried for sample in samples),
        statements=len(samples),
        error=error,
    )


def idle(cluster: Cluster, template: str, scale: Scale, seconds: float, options: Options) -> Result:
    """The clients alone: what the machine itself makes them wait."""
    database = cluster.create_database(template=template)
    try:
        os.sync()
        with load(cluster.url(database), posts=scale.posts, users=scale.users, think=options.think) as seen:
            time.sleep(1)
            started = time.monotonic()
            time.sleep(seconds)
            ended = time.monotonic()
        return _result(seen, started, ended, None)
    finally:
        cluster.drop_database(database)


def fill(cluster: Cluster, scale: Scale) -> str:
    """The filled database that every change gets a copy of."""
    template = cluster.create_database()
    with cluster.connect(template) as connection:
        connection.execute(SCHEMA)
        connection.execute(ROWS.format(**asdict(scale)))
        connection.execute("VACUUM (ANALYZE, FREEZE)")
        wal.write_once(connection)
    return template


# -- the command ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    names: list[str]
    scale: float
    think: float
    held: str
    plain: bool
    write: bool
    logs: str | None
    lock: str | None
    results: str | None


class _Quiet:
    """Nobody else who locks the same file works during a measurement; now and then they get their turn."""

    def __init__(self, lock: str | None) -> None:
        self._file = Path(lock).open("a") if lock else None  # noqa: SIM115 (open as long as the program runs)
        self._since: float | None = None

    def begin(self) -> None:
        if self._file and self._since is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()

    def end(self) -> None:
        if self._file and self._since is not None and time.monotonic() - self._since > 200:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._since = None


def parsed(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(c.name for c in CHANGES))
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 1,000,000 posts, 10,000,000 votes")
    parser.add_argument("--think", type=float, default=0.005, help="seconds between a client's statements")
    parser.add_argument("--held", choices=["no", "also", "only"], default="also",
                        help="with somebody else's transaction open for 10 s")  # fmt: skip
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="Lockstep alone")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--logs", help="a folder for what Lockstep logs, with times")
    parser.add_argument("--lock", help="a file to hold locked (flock) while a change is measured")
    parser.add_argument("--results", help="a file that keeps the results of several runs together")
    options = Options(**vars(parser.parse_args(arguments)))
    if unknown := set(options.names) - {change.name for change in CHANGES}:
        parser.error(f"there is no change named {', '.join(sorted(unknown))}")
    return options


def _runs(options: Options) -> Iterator[tuple[Change, bool]]:
    wanted = [c for c in CHANGES if not options.names or c.name in options.names]
    if options.held != "only":
        yield from ((change, False) for change in wanted)
    if options.held != "no":
        yield from ((change, True) for change in wanted if change.held)


def _merged(kept: Path, rows: list[Row]) -> list[Row]:
    """The rows of earlier runs and, in place of those of the same change, these; kept for later runs."""
    known: dict[tuple[str, bool], Row] = pickle.loads(kept.read_bytes()) if kept.exists() else {}
    known.update({(row.change, row.held): row for row in rows})
    kept.write_bytes(pickle.dumps(known))
    order = [change.name for change in CHANGES]
    return sorted(known.values(), key=lambda row: order.index(row.change))


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    scale = Scale(
        posts=int(1_000_000 * options.scale),
        votes=int(10_000_000 * options.scale),
        users=int(100_000 * options.scale),
    )
    cluster = Cluster(18, SETTINGS)
    rows: list[Row] = []
    quiet = _Quiet(options.lock)
    try:
        started = time.monotonic()
        template = fill(cluster, scale)
        print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
        with cluster.connect() as connection:
            version = connection.execute("SHOW server_version").fetchone()[0]  # type: ignore[index]
        quiet.begin()
        alone = idle(cluster, template, scale, 20, options)
        quiet.end()
        print(f"clients alone: {alone.statements} statements, longest {duration(alone.stall)}", flush=True)
        for change, held in _runs(options):
            results = {}
            quiet.begin()
            for plain in (True, False) if options.plain else (False,):
                results[plain] = measure(
                    cluster, template, change, scale, plain=plain, held=held, options=options
                )
            quiet.end()
            row = Row(change.name, results.get(True), results[False], held)
            rows.append(row)
            print(("held " if held else "") + "  ".join(row.cells()), f"[{row.lockstep.stalled}]", flush=True)
            for miss in row.misses():
                print(f"    MISSED: {miss}", flush=True)
    finally:
        cluster.remove()
    if options.results:
        rows = _merged(Path(options.results), rows)
    if options.write:
        text = section(rows, alone, scale, version, think=options.think, settings=SETTINGS, held_for=HELD_FOR)
        write_section(text)
    return 1 if any(row.misses() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
