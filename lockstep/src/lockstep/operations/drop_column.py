"""``op.drop_column``: what has values is kept first, in a downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.archive.keep_column import keep_column
from lockstep.errors import LockstepError
from lockstep.operations.before_drop import before_drop
from lockstep.operations.drop_table import kept_table
from lockstep.operations.register import Call, describe, performs
from lockstep.postgres import catalog
from lockstep.steps.step import AsWritten, Step

if TYPE_CHECKING:
    from typing import Any

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table


@performs(ops.DropColumnOp, lambda op: describe(op, op.table_name, op.column_name))
def drop_column(call: Call[ops.DropColumnOp]) -> Any:
    """Its foreign keys go first, each in a step of its own, then its indexes, CONCURRENTLY.

    A dropped column cannot be taken back; where it is kept, its values lie in the archive.
    """
    operation = call.operation
    if operation.if_exists and not call.exists(operation.table_name, operation.schema, operation.column_name):
        return call.perform(lambda: AsWritten(undo=()))
    call.refuse_in_savepoint("what it removes cannot be kept first", lambda: kept_table(call))
    return call.perform(lambda: _plan(call))


def _plan(call: Call[ops.DropColumnOp]) -> Plan:
    operation, connection = call.operation, call.planning.connection
    table = kept_table(call)
    if table is not None:
        _refuse_rows_elsewhere(call, table)
    kept = keep_column(call.planning, table, operation.column_name, call.plain_sql()) if table else None
    if table is not None and kept is not None:
        # Its indexes serve to the last: copying its values may take long.
        return [*kept[:-1], *before_drop(connection, table, operation.column_name), kept[-1]]
    table = call.table_in_use(operation.table_name, operation.schema, needs_plan=False)
    before = before_drop(connection, table, operation.column_name) if table else []
    if table is None or not before:
        return AsWritten(undo=None)
    described = f"{table}: drop column {operation.column_name}"
    return [*before, Step(described, sql=tuple(call.plain_sql()), undo=None)]


def _refuse_rows_elsewhere(call: Call[ops.DropColumnOp], table: Table) -> None:
    """Whole rows of the table that columns elsewhere hold would lose the value, and nothing keeps it."""
    holders = catalog.row_type_users(call.planning.connection, table.oid)
    if holders:
        raise LockstepError(
            f"{call.name}: rows of {table} are kept in {', '.join(holders)}, and lose their "
            f"{call.operation.column_name}, which the archive does not keep. Nothing was changed. Let it go "
            "with `with lockstep.derived():`"
        )
