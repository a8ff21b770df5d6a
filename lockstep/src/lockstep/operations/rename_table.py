"""``op.rename_table``: one short step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.operations.register import Call, describe, performs
from lockstep.postgres.catalog import qualified, quote
from lockstep.revision.renames import Rename
from lockstep.steps.step import AsWritten

if TYPE_CHECKING:
    from typing import Any


@performs(ops.RenameTableOp, lambda op: describe(op, op.table_name, op.new_table_name))
def rename_table(call: Call[ops.RenameTableOp]) -> Any:
    """Taken back by the old name."""
    operation = call.operation
    old, new, schema = operation.table_name, operation.new_table_name, operation.schema
    undo = (f"ALTER TABLE {qualified(new, schema)} RENAME TO {quote(old)}",)
    call.perform(lambda: AsWritten(undo=undo))
    call.planning.note_rename(Rename(schema, old, new_name=new))
