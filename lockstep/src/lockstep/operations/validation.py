"""VALIDATE CONSTRAINT: what was added NOT VALID in a moment is checked while everybody goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lockstep.postgres.catalog import literal, quote
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Sorted numbers are merged in a third of the time of a hash join, which misses the processor's cache at each
#: of its rows (docs/decisions/steps.md).
_MERGE_JOIN = """
SELECT set_config('enable_hashjoin', 'off', true) FROM pg_class c, pg_class p, pg_attribute a
WHERE c.oid = {child}::regclass AND p.oid = {parent}::regclass AND a.attrelid = c.oid AND a.attname = {column}
  AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
  AND p.reltuples > 200000 AND c.reltuples BETWEEN p.reltuples AND 100000000
"""


def added_and_validated(
    table_sql: str,
    description: str,
    name: str,
    add: str,
    *,
    locks: tuple[tuple[str, str], ...] = (),
    offenders: str | None = None,
    refusal: str | None = None,
    validates: bool = True,
) -> Step:
    """A constraint, added NOT VALID by the statement ``add`` under a short lock, then validated.

    VALIDATE CONSTRAINT reads the whole table under a lock that lets readers and writers go on. ``offenders``
    is a query for the rows that break it; where there are any, it is dropped again. Without ``validates`` it
    stays NOT VALID.
    """
    drop = (drop_constraint_sql(table_sql, name),)
    if not validates:
        return Step(description, sql=(add,), locks=locks, undo=drop)
    return Step(
        description,
        sql=(add, f"ALTER TABLE {table_sql} VALIDATE CONSTRAINT {quote(name)}"),
        kind=Kind.VALIDATED,
        locks=locks,
        leftover=drop,
        undo=drop,
        undo_present=_is_gone(table_sql, name),
        offenders=offenders,
        refusal=refusal,
    )


def merging(step: Step, child: str, parent: str, columns: Sequence[str]) -> Step:
    """The step of a foreign key, its join planned as one of sorted numbers where that is faster."""
    if step.kind is not Kind.VALIDATED or len(columns) != 1:
        return step
    merge = _MERGE_JOIN.format(child=literal(child), parent=literal(parent), column=literal(columns[0]))
    add, *validate = step.sql
    return replace(step, sql=(add, merge.strip(), *validate))


def drop_constraint_sql(table_sql: str, name: str) -> str:
    """What takes back the constraint, valid or not."""
    return f"ALTER TABLE {table_sql} DROP CONSTRAINT IF EXISTS {quote(name)}"


def _is_gone(table_sql: str, name: str) -> str:
    """A query that is true when the table has no constraint of that name."""
    return (
        "SELECT NOT EXISTS (SELECT FROM pg_constraint "
        f"WHERE conrelid = {literal(table_sql)}::regclass AND conname = {literal(name)})"
    )


def rows_where(table_sql: str, condition: str) -> str:
    """A query for rows at fault, as JSON; in ``condition`` the row is called ``lockstep_row``."""
    return f"SELECT to_jsonb(lockstep_row)::text FROM {table_sql} lockstep_row WHERE {condition}"
