"""``op.alter_column(nullable=False)``: SET NOT NULL without a scan under a lock; nothing is left over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.operations.validation import added_and_validated, rows_where
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table


def set_not_null(connection: Connection, table: Table, column: str) -> list[Step]:
    """The steps of SET NOT NULL; empty where the column is NOT NULL already, and valid."""
    existing = catalog.columns(connection, table.oid).get(column)
    if existing is None:
        raise LockstepError(f"{table} has no column {column}")
    if not existing.not_null:
        return not_null_steps(connection, table, column)
    return _validation(connection, table, existing)


_NOT_VALID = """
SELECT conname FROM pg_constraint
WHERE conrelid = %(oid)s AND contype = 'n' AND conkey = ARRAY[%(number)s::int2] AND NOT convalidated
"""


def _validation(connection: Connection, table: Table, column: Column) -> list[Step]:
    """The validation of a NOT NULL that is NOT VALID, as of PostgreSQL 18: SET NOT NULL does it, too."""
    found = catalog.scalar(connection, _NOT_VALID, oid=table.oid, number=column.number)
    if found is None:
        return []
    alter, name = f"ALTER TABLE {table.sql}", quote(found)
    again = f"{alter} ADD CONSTRAINT {name} NOT NULL {quote(column.name)} NOT VALID"
    return [
        Step(
            f"{table}.{column.name}: validate not null",
            sql=(f"{alter} VALIDATE CONSTRAINT {name}",),
            kind=Kind.LONG,
            undo=(f"{alter} DROP CONSTRAINT {name}", again),
            offenders=rows_where(table.sql, f"lockstep_row.{quote(column.name)} IS NULL"),
        )
    ]


def not_null_steps(connection: Connection, table: Table, column: str) -> list[Step]:
    """The steps of SET NOT NULL, for a column that need not exist yet.

    PostgreSQL 18 has NOT NULL … NOT VALID; before, a validated CHECK lets SET NOT NULL skip its scan (manual,
    ALTER TABLE).
    """
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column)}"
    drop_not_null = (f"{alter} DROP NOT NULL",)
    offenders = rows_where(table.sql, f"lockstep_row.{quote(column)} IS NULL")
    subject = f"{table}.{column}"
    if catalog.server_version(connection) >= 18:
        name = catalog.default_name(connection, table, [column], "not_null")
        add = f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} NOT NULL {quote(column)} NOT VALID"
        step = added_and_validated(table.sql, f"{subject}: set not null", name, add, offenders=offenders)
        return [replace(step, leftover=drop_not_null, undo=drop_not_null)]
    name = catalog.default_name(connection, table, [column], "lockstep_not_null")
    check = f"CHECK ({quote(column)} IS NOT NULL) NOT VALID"
    validated = added_and_validated(
        table.sql,
        f"{subject}: not null for new rows",
        name,
        f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} {check}",
        offenders=offenders,
        refusal=f'column "{column}" of relation "{table.name}" contains null values',
    )
    return [
        replace(validated, private=True),
        Step(
            f"{subject}: set not null",
            sql=(f"{alter} SET NOT NULL", f"ALTER TABLE {table.sql} DROP CONSTRAINT {quote(name)}"),
            undo=drop_not_null,
        ),
    ]
