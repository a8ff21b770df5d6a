"""``op.drop_column``: what has values is kept first, in a downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.archive.keep_column import keep_column
from lockstep.operations.drop_table import kept_table
from lockstep.operations.register import Call, describe, performs
from lockstep.steps.step import AsWritten

if TYPE_CHECKING:
    from typing import Any

    from lockstep.operations.register import Plan


@performs(ops.DropColumnOp, lambda op: describe(op, op.table_name, op.column_name))
def drop_column(call: Call[ops.DropColumnOp]) -> Any:
    """A dropped column cannot be taken back; where it is kept, its values lie in the archive."""
    operation = call.operation
    if operation.if_exists and not call.exists(operation.table_name, operation.schema, operation.column_name):
        return call.perform(lambda: AsWritten(undo=()))
    call.refuse_in_savepoint("what it removes cannot be kept first", lambda: kept_table(call))
    return call.perform(lambda: _plan(call))


def _plan(call: Call[ops.DropColumnOp]) -> Plan:
    table = kept_table(call)
    if table is None:
        return AsWritten(undo=None)
    kept = keep_column(call.migrator, table, call.operation.column_name, call.plain_sql())
    return AsWritten(undo=None) if kept is None else kept
