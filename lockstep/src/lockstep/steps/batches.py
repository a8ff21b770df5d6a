"""Changing many rows in batches, each so short that nobody who writes to the same rows notices."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import AS_TEXT, execute, sqlstate
from lockstep.steps.locks import RETRIED, pause
from lockstep.steps.pages import Pages, short_transaction, walk
from lockstep.steps.refused_rows import name_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace
    from lockstep.steps.step import Copy, Fill, Step

#: How often a batch of a copy is tried before its error is raised; a lock may be held for long.
_MOST_TRIES = 10_000

#: foreign_key_violation: a parent that was there a moment ago. After some tries it is gone for good.
_PARENT_MISSING = "23503"
_SOME_TRIES = 3

#: Classes of errors that are about one row: its data, a constraint, a type that is gone, a check's own error.
_ROW_REFUSED = frozenset({"22", "23", "42", "44", "P0"})

log = logging.getLogger("alembic.lockstep")

#: In how many turns the rows of a page are changed; measured in docs/decisions/batches.md.
_TURNS = 4

#: Pages of a table that is filled in one turn.
_SHORT = 512

#: After so many passes the rows that still match were written since: others go on writing them.
_ENOUGH_PASSES = 4


def fill(connection: Connection, pace: Pace, step: Step, name: str, began: Callable[[], None]) -> None:
    """Run ``UPDATE … WHERE predicate`` over a table, its partitions and its children in batches until no row
    matches.

    A batch is a range of pages, in the order in which the table lies on disk, sized so that it takes
    ``pace.batch_time`` seconds. It locks the rows that it changes for that long. A row that somebody else
    has locked is left for the next pass. Commits each batch, without waiting for standbys, and
    calls ``began`` after one that changed rows.

    Raises LockstepError, naming one, where rows match again after they were changed: it would never end.
    """
    todo = step.fill
    if todo is None:
        raise LockstepError(f"{step.description}: nothing to fill")
    with _settings(connection, todo.settings):
        for member in _members(connection, todo.table):
            _until_none_matches(connection, pace, replace(todo, table=member), name, began)


@contextmanager
def _settings(connection: Connection, settings: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """The session's settings changed for as long as the block runs."""

    def put(pairs: tuple[tuple[str, str], ...]) -> None:
        for name, value in pairs:
            catalog.scalar(
                connection, "SELECT set_config(%(name)s, %(value)s, false)", name=name, value=value
            )

    before = tuple(
        (name, catalog.scalar(connection, "SELECT current_setting(%(name)s)", name=name))
        for name, _ in settings
    )
    put(settings)
    try:
        yield
    finally:
        with suppress(DBAPIError):  # a lost connection has no settings
            put(before)


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
    connection: Connection, pace: Pace, todo: Fill, name: str, began: Callable[[], None]
) -> None:
    number = 0
    while True:
        skipped = _one_pass(connection, pace, todo, name, began, first=number == 0)
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
    connection: Connection, pace: Pace, todo: Fill, name: str, began: Callable[[], None], *, first: bool
) -> bool:
    """Go over the table once; return whether rows were left because others had them locked."""
    changed = skipped = False

    def batch(connection: Connection, pages: Pages) -> int:
        nonlocal changed, skipped
        # Few rows are left to a later pass: whether they match again is asked of each of them.
        try:
            some, left = _batch(connection, pace, todo, pages, checked=not first or not changed)
        except DBAPIError as error:
            if (named := name_refused(connection, pace, todo, pages, error)) is not None:
                raise named from error
            raise
        if some:
            changed = True
            began()
        skipped |= left
        return some

    in_turns = first and _may_stay(connection, todo) and not _is_short(connection, todo.table)
    turns = _TURNS if in_turns else 1
    walk(
        connection, pace, todo.table, name, batch,
        turns=turns, connections=pace.connections if todo.parallel else 1,
    )  # fmt: skip
    return skipped


def _is_short(connection: Connection, table: str) -> bool:
    """Whether a table is filled in no time anyway. In one turn its rows keep their order where their pages
    are full: they all move, one after the other.
    """
    size = "SELECT pg_relation_size(%(name)s::regclass) / current_setting('block_size')::int"
    return int(catalog.scalar(connection, size, name=table.removeprefix("ONLY "))) <= _SHORT


def _may_stay(connection: Connection, todo: Fill) -> bool:
    """Whether changed rows can stay on their pages, without new index entries (heap-only tuples): no index
    has to do with the columns.
    """
    return bool(todo.columns) and not catalog.scalar(
        connection,
        """
        SELECT EXISTS (
            SELECT FROM pg_index i JOIN pg_depend d
                ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE i.indrelid = %(name)s::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = i.indrelid AND a.attname = ANY (%(columns)s)
        )
        """,
        name=todo.table.removeprefix("ONLY "),
        columns=list(todo.columns),
    )


def copy(connection: Connection, pace: Pace, step: Step, name: str) -> None:
    """Carry rows over by ``step.copy.statement``, in batches like those of ``fill``.

    A batch that meets a lock, or a row whose parent has just gone, is tried again. One with a row that cannot
    be carried over goes row by row, where the step says how, and leaves that one behind.
    """
    todo = step.copy
    if todo is None:
        raise LockstepError(f"{step.description}: nothing to copy")

    def batch(connection: Connection, pages: Pages) -> int:
        attempt = 0
        while True:
            try:
                return _carry_over(connection, pace, todo, pages, todo.statement)
            except DBAPIError as error:
                state = sqlstate(error) or ""
                again = state in RETRIED or (state == _PARENT_MISSING and attempt < _SOME_TRIES)
                if not again and todo.one_by_one and state[:2] in _ROW_REFUSED:
                    break
                if not again or attempt == _MOST_TRIES:
                    raise
            pause(attempt)
            attempt += 1
        _carry_over(connection, pace, todo, pages, todo.one_by_one)
        return int(catalog.scalar(connection, "SELECT current_setting('lockstep.moved')"))

    for _ in range(_ENOUGH_PASSES):
        moved = walk(connection, pace, todo.table, name, batch, written=todo.into)
        if not (moved and todo.until_still):
            return


def copy_within(connection: Connection, todo: Copy) -> None:
    """As ``copy``, but all rows at once, in the transaction that is open: where nobody waits for them."""
    role = "SET LOCAL session_replication_role = "
    if todo.without_triggers:
        execute(connection, f"{role}replica")
    for _ in range(_ENOUGH_PASSES):
        if not (_all_at_once(connection, todo) and todo.until_still):
            break
    if todo.without_triggers:
        execute(connection, f"{role}origin")


def _all_at_once(connection: Connection, todo: Copy) -> int:
    values = {
        "lockstep.first": "(0,0)",
        "lockstep.until": "(4294967295,0)",
        "row_security": "off",
        **AS_TEXT,
    }
    settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items())
    execute(connection, f"SELECT {settings}")
    execute(connection, "SAVEPOINT lockstep_copy")
    try:
        moved = _between(connection, todo, todo.statement)
    except DBAPIError as error:
        if not todo.one_by_one or (sqlstate(error) or "")[:2] not in _ROW_REFUSED:
            raise
        execute(connection, "ROLLBACK TO SAVEPOINT lockstep_copy")
        _between(connection, todo, todo.one_by_one)
        return int(catalog.scalar(connection, "SELECT current_setting('lockstep.moved')"))
    execute(connection, "RELEASE SAVEPOINT lockstep_copy")
    return moved


def _between(connection: Connection, todo: Copy, statement: str) -> int:
    for first in todo.before:
        execute(connection, first)
    moved = int(execute(connection, statement).rowcount)
    for last in todo.after:
        execute(connection, last)
    return moved


def _carry_over(connection: Connection, pace: Pace, todo: Copy, pages: Pages, statement: str) -> int:
    with short_transaction(connection, pace, pages, without_triggers=todo.without_triggers):
        # Only here: an expression of a fill reads and writes text as the revision's session does.
        values = {"lockstep.first": f"({pages.first},0)", "lockstep.until": f"({pages.until},0)", **AS_TEXT}
        settings = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items())
        execute(connection, f"SELECT {settings}")
        return _between(connection, todo, statement)


def _batch(
    connection: Connection, pace: Pace, todo: Fill, pages: Pages, *, checked: bool
) -> tuple[int, bool]:
    """Change the rows of some pages; return how many, and whether some may have been left to others."""
    inside = f"{pages.inside()} AND ({todo.predicate})"
    try:
        return _update(connection, pace, todo, pages, inside, checked=checked), False
    except DBAPIError as error:
        if sqlstate(error) not in RETRIED:
            raise
    # Somebody holds a row of the batch: waiting would hold the others for as long.
    free = f"SELECT ctid FROM {todo.table} WHERE {inside} FOR NO KEY UPDATE SKIP LOCKED"
    where = f"ctid = ANY (ARRAY({free}))"
    return _update(connection, pace, todo, pages, where, checked=checked), True


def _update(
    connection: Connection, pace: Pace, todo: Fill, pages: Pages, where: str, *, checked: bool
) -> int:
    """Change the rows of a batch; return how many. Raise where one of them still matches."""
    statement = f"UPDATE {todo.table} SET {todo.assignments} WHERE {where}"
    with short_transaction(connection, pace, pages, without_triggers=todo.without_triggers):
        if not checked:
            return int(execute(connection, statement).rowcount)
        places = [row[0] for row in execute(connection, f"{statement} RETURNING ctid::text")]
        if places:
            _refuse_endless(connection, todo, places)
        return len(places)


def _refuse_endless(connection: Connection, todo: Fill, places: list[str]) -> None:
    array = "{" + ",".join(f'"{place}"' for place in places) + "}"
    again = (
        execute(
            connection,
            f"SELECT * FROM {todo.table} "
            f"WHERE ctid = ANY ({catalog.literal(array)}::tid[]) AND ({todo.predicate}) LIMIT 1",
        )
        .mappings()
        .first()
    )
    if again is None:
        return
    row = ", ".join(f"{column}={value!r}" for column, value in again.items())
    raise LockstepError(
        f"a row of {todo.table.removeprefix('ONLY ')} still matches {todo.predicate} after it was set to "
        f"{todo.assignments}: the fill would never end. The row: {row[:500]}"
    )
