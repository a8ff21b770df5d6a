"""Changing many rows in batches, each so short that nobody who writes to the same rows notices."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import DBAPIError

from lockstep import catalog
from lockstep.errors import LockstepError
from lockstep.steps import RETRIED, execute, pause, set_lock_timeout, sqlstate, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps import Fill, Pace, Step

#: How often a batch of a copy is tried before its error is raised; a lock may be held for long.
_MOST_TRIES = 10_000

log = logging.getLogger("alembic.lockstep")

#: After so many passes the rows that still match were written since: others go on writing them.
_ENOUGH_PASSES = 4


def fill(connection: Connection, pace: Pace, step: Step, name: str) -> None:
    """Run ``UPDATE … WHERE predicate`` over a table, its partitions and its children in batches until no row
    matches.

    A batch is a range of pages, in the order in which the table lies on disk, sized so that it takes
    ``pace.batch_time`` seconds. It locks the rows that it changes for that long. A row that somebody else
    has locked is left for the next pass. Commits each batch, without waiting for the disk: a batch that a
    crash loses still matches the predicate and is done again.

    Raises LockstepError, naming one, where rows match again after they were changed: it would never end.
    """
    todo = step.fill
    if todo is None:
        raise LockstepError(f"{step.says}: nothing to fill")
    with _lag_watched(connection, pace) as breathe:
        for member in _members(connection, todo.table):
            _until_none_matches(connection, pace, replace(todo, table=member), name, breathe)


def _members(connection: Connection, table: str) -> list[str]:
    """The tables that hold the rows: itself, its partitions, what inherits from it."""
    found = catalog.rows(
        connection,
        """
        WITH RECURSIVE member(oid) AS (
            SELECT %(name)s::regclass::oid
            UNION SELECT i.inhrelid FROM pg_inherits i JOIN member m ON i.inhparent = m.oid
        )
        SELECT format('ONLY %%I.%%I', n.nspname, c.relname), c.relkind::text
        FROM member m JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind <> 'p' ORDER BY c.oid
        """,
        name=table,
    )
    for member, kind in found:
        if kind == "f":
            raise LockstepError(f"{member.removeprefix('ONLY ')} is a foreign table: fill it there")
    return [row[0] for row in found]


def _until_none_matches(
    connection: Connection, pace: Pace, todo: Fill, name: str, breathe: Callable[[], None]
) -> None:
    number = 0
    while True:
        skipped = _one_pass(connection, pace, todo, name, breathe, first=number == 0)
        if not catalog.scalar(connection, f"SELECT EXISTS (SELECT FROM {todo.table} WHERE {todo.predicate})"):
            return
        number += 1
        if number >= _ENOUGH_PASSES and not skipped:
            log.warning(
                "%s: rows are still written for which %s; those that were there are filled",
                name,
                todo.predicate,
            )
            return
        if skipped and number == 2:
            log.info("%s: the rows that are left are locked by others; waiting for them", name)
        # Rows that others held, moved or wrote meanwhile; give them time to let go.
        time.sleep(min(0.05 * 2**number, 2.0))


def _one_pass(
    connection: Connection, pace: Pace, todo: Fill, name: str, breathe: Callable[[], None], *, first: bool
) -> bool:
    """Go over the table once; return whether rows were left because others had them locked."""
    changed = 0

    def batch(page: int, until: int) -> int:
        nonlocal changed
        # Few rows are left to a later pass: whether they match again is asked of each of them.
        some, left = _batch(connection, pace, todo, page, until, checked=not first or not changed)
        changed += some
        return int(left)

    return _walk(connection, pace, todo.table, name, breathe, batch) > 0


def _walk(
    connection: Connection,
    pace: Pace,
    table: str,
    name: str,
    breathe: Callable[[], None],
    batch: Callable[[int, int], int],
) -> int:
    """Call ``batch`` for one range of pages after another, sized by how long the last one took; its sum."""
    pages = _pages(connection, table)
    width = 16.0
    page = total = 0
    with _progress(name, pages) as advance:
        while page < pages:
            until = min(page + max(int(width), 1), pages)
            started = time.monotonic()
            total += batch(page, until)
            took = time.monotonic() - started
            advance(until - page)
            page = until
            # Not more than twice as many at once: one lucky batch says little about the next.
            width = min(max(width * min(max(pace.batch_time / max(took, 1e-4), 0.25), 2.0), 1.0), 1e6)
            breathe()
    return total


def copy(connection: Connection, pace: Pace, step: Step, name: str) -> None:
    """Carry rows over by ``step.copy.statement``, in batches like those of ``fill``.

    A batch that meets a lock, or a row whose parent has just gone, is tried again.
    """
    todo = step.copy
    if todo is None:
        raise LockstepError(f"{step.says}: nothing to copy")

    def batch(page: int, until: int) -> int:
        statement = todo.statement.replace("{inside}", _inside("source.", page, until))
        attempt = 0
        while True:
            try:
                with transaction(connection):
                    execute(connection, "SET LOCAL synchronous_commit = off")
                    execute(connection, "SET LOCAL row_security = off")
                    set_lock_timeout(connection, pace.lock_timeout)
                    return int(execute(connection, statement).rowcount)
            except DBAPIError as error:
                if sqlstate(error) not in {*RETRIED, "23503"} or attempt == _MOST_TRIES:
                    raise
            pause(attempt)
            attempt += 1

    with _lag_watched(connection, pace) as breathe:
        while _walk(connection, pace, todo.table, name, breathe, batch) and todo.until_still:
            pass


def _inside(qualifier: str, first: int, until: int) -> str:
    return f"{qualifier}ctid >= '({first},0)'::tid AND {qualifier}ctid < '({until},0)'::tid"


def _pages(connection: Connection, table: str) -> int:
    table = catalog.literal(table.removeprefix("ONLY "))
    return int(
        catalog.scalar(
            connection, f"SELECT pg_relation_size({table}::regclass) / current_setting('block_size')::int"
        )
    )


def _batch(
    connection: Connection, pace: Pace, todo: Fill, first: int, until: int, *, checked: bool
) -> tuple[int, bool]:
    """Change the rows of some pages; return how many, and whether some may have been left to others."""
    inside = f"{_inside('', first, until)} AND ({todo.predicate})"
    try:
        return _update(connection, pace, todo, inside, checked=checked), False
    except DBAPIError as error:
        if sqlstate(error) not in RETRIED:
            raise
    # Somebody holds a row of the batch: waiting would hold the others for as long.
    free = f"SELECT ctid FROM {todo.table} WHERE {inside} FOR NO KEY UPDATE SKIP LOCKED"
    return _update(connection, pace, todo, f"ctid = ANY (ARRAY({free}))", checked=checked), True


def _update(connection: Connection, pace: Pace, todo: Fill, where: str, *, checked: bool) -> int:
    """Change the rows of a batch; return how many. Raise where one of them still matches."""
    statement = f"UPDATE {todo.table} SET {todo.assignments} WHERE {where}"
    with transaction(connection):
        execute(connection, "SET LOCAL synchronous_commit = off")
        # Rows that a policy hides would be left out in silence; this makes it an error.
        execute(connection, "SET LOCAL row_security = off")
        if todo.quiet:
            execute(connection, "SET LOCAL session_replication_role = replica")
        set_lock_timeout(connection, pace.lock_timeout)
        if not checked:
            return int(execute(connection, statement).rowcount)
        places = [row[0] for row in execute(connection, f"{statement} RETURNING ctid::text")]
        if places:
            _refuse_endless(connection, todo, places)
        return len(places)


def _refuse_endless(connection: Connection, todo: Fill, places: list[str]) -> None:
    array = "{" + ",".join(f'"{place}"' for place in places) + "}"
    again = execute(
        connection,
        f"SELECT * FROM {todo.table} "
        f"WHERE ctid = ANY ({catalog.literal(array)}::tid[]) AND ({todo.predicate}) LIMIT 1",
    ).first()
    if again is None:
        return
    row = ", ".join(f"{column}={value!r}" for column, value in again._mapping.items())  # noqa: SLF001
    raise LockstepError(
        f"a row of {todo.table.removeprefix('ONLY ')} still matches {todo.predicate} after it was set to "
        f"{todo.assignments}: the fill would never end. The row: {row[:500]}"
    )


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
