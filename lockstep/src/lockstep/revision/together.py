"""Steps in a transaction that they share with the rest of the revision, where they take a moment only."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.session import AS_TEXT, execute
from lockstep.postgres.sizes import assumed_size
from lockstep.revision.planning import SMALL
from lockstep.steps.batches import copy_within
from lockstep.steps.step import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning
    from lockstep.steps.step import Step

_DROPPED = re.compile(r"DROP INDEX CONCURRENTLY (?:IF EXISTS )?(.+)")


def is_small(connection: Connection, name: str) -> bool:
    """Whether a table, with its partitions, is small; ``name`` is its qualified name or its oid."""
    found = catalog.rows(
        connection,
        """
        SELECT c.oid, pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
        FROM pg_class c WHERE c.oid = to_regclass(nullif(%(name)s, ''))
           OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(nullif(%(name)s, ''))))
        """,
        name=name.removeprefix("ONLY "),
    )
    return bool(found) and are_small(found)


def are_small(sizes: Sequence[tuple[int, int | None]]) -> bool:
    """Whether tables, each with its oid and its bytes, are small together."""
    return sum(assumed_size(oid) or size or 0 for oid, size in sizes) <= SMALL


def large_table(planning: Planning, name: str, schema: str | None) -> Table | None:
    """The table, or materialized view, of that name where others may use it and it is not small."""
    if planning.is_created(name, schema):
        return None
    table = catalog.find_table(planning.connection, name, schema)
    if table is None or table.kind not in {"r", "p", "m"}:
        return None
    return None if is_small(planning.connection, table.sql) else table


def are_quick(connection: Connection, steps: Sequence[Step], table: Table | None) -> bool:
    """Whether nobody would wait long for these steps, run one after the other in one transaction."""
    small: dict[str, bool] = {}
    for step in steps:
        if step.kind is Kind.BRIEF:
            continue
        if step.fill or step.copy:
            concerned = step.fill.table if step.fill else step.copy.table if step.copy else ""
        else:
            concerned = table.sql if table is not None else _table_of_index(connection, step.sql)
        if concerned not in small:
            small[concerned] = is_small(connection, concerned)
        if not small[concerned]:
            return False
    return True


def _table_of_index(connection: Connection, statements: tuple[str, ...]) -> str:
    """The table of an index that is dropped; "" for any other statement."""
    found = _DROPPED.fullmatch(statements[0]) if len(statements) == 1 else None
    if found is None:
        return ""
    return str(
        catalog.scalar(
            connection,
            "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE i.indexrelid = to_regclass(%(name)s)",
            name=found[1],
        )
        or ""
    )


def may_run_as_written(steps: Sequence[Step]) -> bool:
    """Whether plain Alembic's statements do what these steps do; not where rows are kept or given back."""
    if all(step.kind is Kind.BRIEF for step in steps):
        return False
    return not any(step.copy or (step.fill and not step.fill.parallel) or _is_kept(step) for step in steps)


def remove_leftovers(connection: Connection, steps: Sequence[Step]) -> None:
    """Remove what an interrupted step of another time has left: an INVALID index, whose name is needed."""
    for step in steps:
        for statement in step.leftover if step.kind is Kind.OUTSIDE else ():
            execute(connection, statement.replace(" CONCURRENTLY", "", 1))


def _is_kept(step: Step) -> bool:
    return any("lockstep.archive" in statement for statement in step.sql)


def run(connection: Connection, step: Step) -> None:
    """Run a step in the transaction that is open."""
    values = {}
    if step.fill or step.copy:
        values["row_security"] = "off"  # rows that a policy hides would be left out in silence
    if (step.fill and step.fill.without_triggers) or (step.copy and step.copy.without_triggers):
        values["session_replication_role"] = "replica"
    if step.copy or any("'datestyle'" in statement for statement in step.sql):
        values |= {**AS_TEXT, "row_security": "off"}  # the revision's own statements have theirs again
    with _settings(connection, values):
        for statement in step.sql:
            execute(connection, _inside(step, statement))
        if step.fill:
            where = f" WHERE {step.fill.predicate}" if step.fill.predicate else ""
            execute(connection, f"UPDATE {step.fill.table} SET {step.fill.assignments}{where}")
        if step.copy:
            copy_within(connection, step.copy)


@contextmanager
def _settings(connection: Connection, values: dict[str, str]) -> Iterator[None]:
    """Settings for the statements of the block, as they were before afterwards."""
    before = {name: catalog.scalar(connection, f"SELECT current_setting('{name}')") for name in values}
    for name, value in values.items():
        execute(connection, f"SET LOCAL {name} = '{value}'")
    yield
    for name, value in before.items():
        execute(connection, f"SET LOCAL {name} = '{value}'")


def _inside(step: Step, statement: str) -> str:
    """CONCURRENTLY is for outside of transactions."""
    return statement.replace(" CONCURRENTLY", "", 1) if step.kind is Kind.OUTSIDE else statement
