"""``op.drop_constraint``: one short step, under the locks that PostgreSQL takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.archive.keep_column import note_unlinked
from lockstep.archive.registry import worth_keeping
from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.steps.step import AsWritten

if TYPE_CHECKING:
    from lockstep.postgres.catalog import Table

_EXISTS = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = %(oid)s AND conname = %(name)s)"

_REFERRED = """
SELECT confrelid::regclass::text AS name FROM pg_constraint
WHERE conrelid = %(oid)s AND conname = %(name)s AND contype = 'f' AND confrelid <> conrelid
"""


@plans(ops.DropConstraintOp, lambda op: describe(op, op.table_name, op.constraint_name))
def drop_constraint(call: Call[ops.DropConstraintOp]) -> AsWritten:
    """Both ends of a foreign key are locked first: PostgreSQL locks both, and one by one may deadlock.

    It cannot be taken back: rows may have come that break it.
    """
    operation, planning = call.operation, call.planning
    if planning.offline:
        return AsWritten(undo=None)
    table = catalog.find_table(planning.connection, operation.table_name, operation.schema)
    if table is None:
        return AsWritten(undo=None)
    constraint = planning.plain_operations().schema_obj.generic_constraint(
        operation.constraint_name, operation.table_name, operation.constraint_type, schema=operation.schema
    )
    name = planning.name_of(constraint)
    if worth_keeping(planning):
        note_unlinked(planning, table, name)
    there = catalog.scalar(planning.connection, _EXISTS, oid=table.oid, name=name)
    return AsWritten(undo=None if there else (), locks=_locks(call, table, name))


def _locks(call: Call[ops.DropConstraintOp], table: Table, name: str) -> tuple[tuple[str, str], ...]:
    found = catalog.rows(call.planning.connection, _REFERRED, oid=table.oid, name=name)
    return tuple((sql, "ACCESS EXCLUSIVE") for sql in (table.sql, *(row.name for row in found)))
