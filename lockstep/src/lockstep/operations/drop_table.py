"""``op.drop_table``: what has rows is kept first, in a downgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.archive import registry as archive
from lockstep.archive.keep_table import keep_table
from lockstep.operations.before_drop import before_drop
from lockstep.operations.register import Call, describe, performs
from lockstep.steps.step import AsWritten, Step

if TYPE_CHECKING:
    from typing import Any

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table


@performs(ops.DropTableOp, lambda op: describe(op, op.table_name))
def drop_table(call: Call[ops.DropTableOp]) -> Any:
    """Its foreign keys go first, each in a step of its own, so that no other table is locked with it.

    A dropped table cannot be taken back; where it is kept, it lies in the archive.
    """
    if call.operation.if_exists and not call.exists(call.operation.table_name, call.operation.schema):
        return call.perform(lambda: AsWritten(undo=()))
    call.refuse_in_savepoint("what it removes cannot be kept first", lambda: kept_table(call))
    return call.perform(lambda: _plan(call))


def _plan(call: Call[ops.DropTableOp]) -> Plan:
    table = kept_table(call)
    drop = call.plain_sql() if table else []
    if table is None or not drop:
        return _not_kept(call)
    return keep_table(call.planning, table, drop)


def _not_kept(call: Call[ops.DropTableOp]) -> Plan:
    operation = call.operation
    table = call.table_in_use(operation.table_name, operation.schema, needs_plan=False)
    before = before_drop(call.planning.connection, table) if table else []
    if table is None or not before:
        return AsWritten(undo=None)
    return [*before, Step(f"{table}: drop", sql=tuple(call.plain_sql()), undo=None)]


def kept_table(call: Call[ops.DropTableOp] | Call[ops.DropColumnOp]) -> Table | None:
    """The table, where what is dropped of it may have rows and is worth keeping.

    One that is found empty is looked at again under the lock of the drop.
    """
    if call.planning.offline or not archive.worth_keeping(call.planning):
        return None
    operation = call.operation
    table = call.planning.find_table(operation.table_name, operation.schema)
    if table is None or table.kind not in {"r", "p"} or call.planning.takes_short_way(table):
        return None
    return table
