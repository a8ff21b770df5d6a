"""``op.rename_table``: one short step."""

from __future__ import annotations

from alembic.operations import ops

from lockstep.operations.register import Call, describe, plans
from lockstep.postgres.catalog import qualified, quote
from lockstep.steps.step import AsWritten


@plans(ops.RenameTableOp, lambda op: describe(op, op.table_name, op.new_table_name))
def rename_table(call: Call[ops.RenameTableOp]) -> AsWritten:
    """Taken back by the old name."""
    operation = call.operation
    new = qualified(operation.new_table_name, operation.schema)
    return AsWritten(undo=(f"ALTER TABLE {new} RENAME TO {quote(operation.table_name)}",))
