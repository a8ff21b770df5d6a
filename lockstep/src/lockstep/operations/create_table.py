"""``op.create_table``: as written, since nobody uses the table yet; what a downgrade kept comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from lockstep.archive import restore as giving_back
from lockstep.operations.register import Call, describe, performs
from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified
from lockstep.steps.step import AsWritten, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lockstep.postgres.catalog import Table


@performs(ops.CreateTableOp, lambda op: describe(op, op.table_name))
def create_table(call: Call[ops.CreateTableOp]) -> Any:
    """Taken back by dropping it. Its sequences and rows are given back from the archive, the rows last."""
    operation = call.operation
    call.planning.touched.created.add((operation.schema, operation.table_name))
    drop = f"DROP TABLE IF EXISTS {qualified(operation.table_name, operation.schema)}"
    table = call.perform(lambda: AsWritten(undo=(drop,)))
    if call.planning.direction == "upgrade" and not call.planning.offline:
        _give_back(call)
    # A revision may use the table that it gets back, also when an earlier process created it.
    return operation.to_table(call.planning.context) if table is None else table


def _give_back(call: Call[ops.CreateTableOp]) -> None:
    """Let the new table's sequences go on, and put back the rows that a downgrade kept, at the end."""
    migrator = call.migrator

    def found() -> Table | None:
        operation = call.operation
        return catalog.find_table(call.planning.connection, operation.table_name, operation.schema)

    def sequences() -> Sequence[Step]:
        table = found()
        sql = giving_back.continue_sequences(migrator, table.schema, table.name) if table else []
        return [Step(f"{table}: its sequences go on", sql=tuple(sql), undo=())] if sql else []

    def rows() -> Sequence[Step]:
        table = found()
        return giving_back.give_back_table(migrator, table) if table else []

    def nothing() -> None:
        """As written, there is nothing to give back."""

    name = describe(call.operation, call.operation.table_name)
    if call.planning.in_savepoint():
        migrator.at_the_end.append(lambda: migrator.perform(f"{name}: sequences", sequences, nothing))
    else:
        migrator.perform(f"{name}: sequences", sequences, nothing)
    migrator.at_the_end.append(lambda: migrator.perform(f"{name}: rows", rows, nothing))
