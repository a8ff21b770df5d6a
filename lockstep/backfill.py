"""Changing many rows in batches, each so short that nobody who writes to the same rows notices."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import DBAPIError

from lockstep import catalog
from lockstep.errors import LockstepError
from lockstep.steps import execute, set_lock_timeout, sqlstate, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps import Fill, Pace, Step

log = logging.getLogger("alembic.lockstep")

#: Passes over the table before it is given up: rows that match again as soon as they were changed never end.
_MOST_PASSES = 50


def fill(connection: Connection, pace: Pace, step: Step, name: str) -> None:
    """Run ``UPDATE … WHERE predicate`` over a table in batches until no row matches.

    A batch is a range of pages, in the order in which the table lies on disk, sized so that it takes
    ``pace.batch_time`` seconds. It locks the rows that it changes for that long. A row that somebody else
    has locked is left for the next pass. Commits each batch, without waiting for the disk: a batch that a
    crash loses still matches the predicate and is done again.
    """
    todo = step.fill
    if todo is None:
        raise LockstepError(f"{step.says}: nothing to fill")
    with _lag_watched(connection, pace) as breathe:
        for number in range(_MOST_PASSES):
            _one_pass(connection, pace, todo, name, breathe)
            if not catalog.scalar(
                connection, f"SELECT EXISTS (SELECT FROM {todo.table} WHERE {todo.predicate})"
            ):
                return
            # Rows that others held, moved or wrote meanwhile; give them time to let go.
            time.sleep(min(0.05 * 2**number, 2.0))
    raise LockstepError(
        f"{name}: rows match {todo.predicate} again after they were changed. "
        "The predicate must be false for a row that has been filled"
    )


def _one_pass(connection: Connection, pace: Pace, todo: Fill, name: str, breathe: Callable[[], None]) -> None:
    pages = _pages(connection, todo)
    width = 16.0
    page = 0
    with _progress(name, pages) as advance:
        while page < pages:
            until = min(page + max(int(width), 1), pages)
            started = time.monotonic()
            _batch(connection, pace, todo, page, until)
            took = time.monotonic() - started
            advance(until - page)
            page = until
            # Not more than twice as many at once: one lucky batch says little about the next.
            width = min(max(width * min(max(pace.batch_time / max(took, 1e-4), 0.25), 2.0), 1.0), 1e6)
            breathe()


def _pages(connection: Connection, todo: Fill) -> int:
    return int(
        catalog.scalar(
            connection,
            f"SELECT pg_relation_size({catalog.literal(todo.table)}::regclass) "
            "/ current_setting('block_size')::int",
        )
    )


def _batch(connection: Connection, pace: Pace, todo: Fill, first: int, until: int) -> None:
    inside = f"ctid >= '({first},0)'::tid AND ctid < '({until},0)'::tid AND ({todo.predicate})"
    statement = f"UPDATE {todo.table} SET {todo.assignments} WHERE {inside}"
    unlocked = (
        f"UPDATE {todo.table} AS t SET {todo.assignments} FROM "
        f"(SELECT ctid AS place FROM {todo.table} WHERE {inside} FOR NO KEY UPDATE SKIP LOCKED) AS free "
        "WHERE t.ctid = free.place"
    )
    try:
        _update(connection, pace, todo, statement)
    except DBAPIError as error:
        if sqlstate(error) not in {"55P03", "40P01"}:
            raise
        # Somebody holds a row of the batch: waiting would hold the others for as long.
        _update(connection, pace, todo, unlocked)


def _update(connection: Connection, pace: Pace, todo: Fill, statement: str) -> None:
    with transaction(connection):
        execute(connection, "SET LOCAL synchronous_commit = off")
        # Rows that a policy hides would be left out in silence; this makes it an error.
        execute(connection, "SET LOCAL row_security = off")
        if todo.quiet:
            execute(connection, "SET LOCAL session_replication_role = replica")
        set_lock_timeout(connection, pace.lock_timeout)
        execute(connection, statement)


@contextmanager
def _progress(name: str, pages: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere a line a minute."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{name} (pages)", total=pages)
            yield lambda done: bar.advance(task, done)
        return
    done = 0
    told = time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            log.info("%s: %d of %d pages", name, done, pages)

    yield advance


@contextmanager
def _lag_watched(connection: Connection, pace: Pace) -> Iterator[Callable[[], None]]:
    """Gives a function to call between batches: it waits while a replica is too far behind."""
    asked = time.monotonic()

    def breathe() -> None:
        nonlocal asked
        if time.monotonic() - asked < 1:
            return
        told = False
        while (lag := _replica_lag(connection)) > pace.max_replica_lag:
            if not told:
                log.info("a replica is %.0f s behind; waiting for it", lag)
                told = True
            time.sleep(1)
        asked = time.monotonic()

    yield breathe


def _replica_lag(connection: Connection) -> float:
    return float(
        catalog.scalar(
            connection,
            "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication",
        )
    )
