"""``op.bulk_insert``: as written."""

from __future__ import annotations

from alembic.operations import ops

from lockstep.operations.register import Call, describe, plans
from lockstep.steps.step import AsWritten


@plans(ops.BulkInsertOp, lambda op: describe(op, op.table.name))
def bulk_insert(call: Call[ops.BulkInsertOp]) -> AsWritten:
    """Which rows it inserted is not known afterwards, so they can only be taken back with a new table."""
    table = call.operation.table
    return AsWritten(undo=() if call.planning.is_created(table.name, table.schema) else None)
