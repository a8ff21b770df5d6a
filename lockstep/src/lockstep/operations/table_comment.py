"""``op.create_table_comment`` and ``op.drop_table_comment``: one short step."""

from __future__ import annotations

from alembic.operations import ops

from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal
from lockstep.steps.step import AsWritten


@plans(ops.CreateTableCommentOp, lambda op: describe(op, op.table_name))
def create_table_comment(call: Call[ops.CreateTableCommentOp]) -> AsWritten:
    return _as_written(call)


@plans(ops.DropTableCommentOp, lambda op: describe(op, op.table_name))
def drop_table_comment(call: Call[ops.DropTableCommentOp]) -> AsWritten:
    return _as_written(call)


def _as_written(call: Call[ops.CreateTableCommentOp] | Call[ops.DropTableCommentOp]) -> AsWritten:
    """Taken back by the comment that is there before."""
    if call.planning.offline:
        return AsWritten(undo=None)
    connection, operation = call.planning.connection, call.operation
    table = catalog.find_table(connection, operation.table_name, operation.schema)
    if table is None:
        return AsWritten(undo=None)
    text = catalog.scalar(connection, "SELECT obj_description(%(oid)s, 'pg_class')", oid=table.oid)
    words = "NULL" if text is None else literal(text)
    return AsWritten(undo=(f"COMMENT ON TABLE {table.sql} IS {words}",))
