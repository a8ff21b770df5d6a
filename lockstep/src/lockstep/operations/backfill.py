"""The operation ``op.backfill``: many rows changed in batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import Operations, ops

from lockstep.archive.guard import not_given_back
from lockstep.errors import LockstepError
from lockstep.operations.index_build import analyze
from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified, quote
from lockstep.steps.step import Fill, Kind, Step

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

    from lockstep.operations.register import Plan


@Operations.register_operation("backfill")
class BackfillOp(ops.MigrateOperation):
    """Change many rows in batches; see ``op.backfill``."""

    def __init__(
        self, table_name: str, values: dict[str, Any], *, where: str | None = None, schema: str | None = None
    ) -> None:
        self.table_name = table_name
        self.values = values
        self.where = where
        self.schema = schema

    @classmethod
    def backfill(
        cls,
        operations: Operations,
        table_name: str,
        values: dict[str, Any],
        *,
        where: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Fill columns of the rows of a table, in batches of a few milliseconds, while everybody goes on.

        ``values`` gives each column a Python value (a constant) or a SQLAlchemy expression such as
        ``sa.text("lower(email)")`` over the row's columns. ``where`` is SQL that is true for a row that still
        has to be filled and false once it is: that is how the fill goes on after a stop, and how it knows
        that it is done. Without it: rows where one of the columns is NULL.

        Each batch is a transaction of its own that locks the rows it changes. Raises LockstepError when rows
        match ``where`` again after they were filled.
        """
        operations.invoke(cls(table_name, values, where=where, schema=schema))

    def reverse(self) -> ops.MigrateOperation:
        raise NotImplementedError("what a backfill overwrote is not known")


@Operations.implementation_for(BackfillOp)
def in_one_update(operations: Operations, operation: BackfillOp) -> None:
    """``op.backfill`` outside of Lockstep: one UPDATE."""
    table = qualified(operation.table_name, operation.schema)
    fill = _fill(operations.migration_context, operation, table)
    operations.execute(sa.text(f"UPDATE {fill.table} SET {fill.assignments} WHERE {fill.predicate}"))


def is_unfilled(function: Any) -> bool:
    """Whether a revision's function has an ``op.backfill`` with the dots that autogenerate wrote for a value,
    as its compiled code tells: so it is known before its first operation.
    """
    code = getattr(function, "__code__", None)
    return code is not None and "backfill" in code.co_names and ... in code.co_consts


def not_filled_in(where: str) -> str:
    """What to do there."""
    return (
        f"{where}: write a value in place of the dots of op.backfill: a constant, or SQL over a row's "
        'columns, such as sa.text("lower(name)")'
    )


@plans(BackfillOp, lambda op: describe(op, op.table_name, ",".join(op.values)))
def backfill(call: Call[BackfillOp]) -> Plan:
    """What it overwrites is lost, but for a column that the revision itself added; and values that were given
    back to such a column, which it leaves alone.
    """
    operation, planning = call.operation, call.planning
    if planning.offline:
        fill = _fill(planning.context, operation, qualified(operation.table_name, operation.schema))
        return [Step(call.name, kind=Kind.FILL, fill=fill, undo=None)]
    table = catalog.find_table(planning.connection, operation.table_name, operation.schema)
    if table is None:
        raise LockstepError(f"op.backfill: there is no table {operation.table_name}")
    known = catalog.columns(planning.connection, table.oid)
    if unknown := [column for column in operation.values if column not in known]:
        raise LockstepError(f"op.backfill: {table} has no column {unknown[0]}")
    leaves = catalog.leaves(planning.connection, table) if table.kind == "p" else [table]
    undo = () if planning.has_added(operation.table_name, *operation.values) else None
    fill = _fill(planning.context, operation, table.sql)
    fill = replace(fill, expressions=tuple(map(_of_default, fill.expressions, map(known.get, fill.columns))))
    held = not_given_back(planning, table, dict(zip(fill.columns, fill.expressions, strict=True)))
    predicate = f"({fill.predicate}) AND {held}" if held else fill.predicate
    analyzed = [] if planning.takes_short_way(table) else [analyze(table, *operation.values)]
    return [
        Step(
            f"{leaf}: fill {', '.join(operation.values)}",
            kind=Kind.FILL,
            fill=replace(fill, table=leaf.sql, predicate=predicate),
            undo=undo,
        )
        for leaf in leaves
    ] + analyzed


def _of_default(expression: str, column: catalog.Column | None) -> str:
    """What an expression is to be compared with: DEFAULT stands nowhere but in an assignment."""
    if expression.strip().upper() != "DEFAULT":
        return expression
    return column.default if column is not None and column.default else "NULL"


def _fill(context: MigrationContext, operation: BackfillOp, table: str) -> Fill:
    def rendered(value: Any) -> str:
        if value is None:
            return "NULL"
        element = value if isinstance(value, sa.ClauseElement) else sa.literal(value)
        text = str(element.compile(dialect=context.dialect, compile_kwargs={"literal_binds": True}))
        return text.replace("%%", "%")

    if not operation.values:
        raise LockstepError(f"op.backfill of {operation.table_name}: values is empty")
    if unfilled := [column for column, value in operation.values.items() if value is ...]:
        raise LockstepError(not_filled_in(f"op.backfill of {operation.table_name}.{unfilled[0]}"))
    expressions = tuple(rendered(value) for value in operation.values.values())
    columns = tuple(operation.values)
    assignments = ", ".join(f"{quote(c)} = {e}" for c, e in zip(columns, expressions, strict=True))
    predicate = operation.where or " OR ".join(f"{quote(column)} IS NULL" for column in operation.values)
    return Fill(table, assignments, predicate, columns=columns, expressions=expressions)
