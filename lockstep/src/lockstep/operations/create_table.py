"""``op.create_table``: as written, since nobody uses the table yet; what a downgrade kept comes back."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops

from lockstep.archive.keep_table import undo_create_table
from lockstep.operations.register import Call, describe, performs
from lockstep.postgres.catalog import qualified
from lockstep.steps.step import AsWritten


@performs(ops.CreateTableOp, lambda op: describe(op, op.table_name))
def create_table(call: Call[ops.CreateTableOp]) -> Any:
    """Taken back by dropping it, where it has no rows; otherwise it is kept. One that was there before
    (if_not_exists) stays, and is in use as others are. Rows that a downgrade kept of it are given back at the
    end of the revision.
    """
    operation = call.operation
    if {str(prefix).upper() for prefix in operation.prefixes or ()} & {"TEMP", "TEMPORARY"}:
        return call.as_written()  # as the revision's own statement: it lives as long as the session
    if operation.if_not_exists and call.exists(operation.table_name, operation.schema):
        table = call.perform(lambda: AsWritten(undo=()))
    else:
        call.planning.touched.created.add((operation.schema, operation.table_name))
        table = call.perform(lambda: AsWritten(undo=_undo(call)))
    # A revision may use the table that it gets back, also when an earlier process created it.
    return operation.to_table(call.planning.context) if table is None else table


def _undo(call: Call[ops.CreateTableOp]) -> tuple[str, ...]:
    if call.planning.offline:
        return ()
    name = qualified(call.operation.table_name, call.operation.schema)
    return undo_create_table(call.planning, name)
