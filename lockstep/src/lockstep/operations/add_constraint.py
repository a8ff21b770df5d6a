"""What the operations have in common that add a constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.schema import AddConstraint

from lockstep.operations.register import Call, describe, plans
from lockstep.operations.validation import drop_constraint_sql
from lockstep.postgres.catalog import qualified
from lockstep.steps.step import AsWritten, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning


def constraint_name(operation: Any) -> str:
    """The name of such an operation: with its constraint's, or its columns where it has none."""
    columns = ",".join(str(column) for column in getattr(operation, "columns", None) or ())
    return describe(operation, operation.table_name, operation.constraint_name or columns)


@plans(ops.AddConstraintOp, constraint_name)  # type: ignore[type-abstract]  # the base of the others
def add_constraint(call: Call[ops.AddConstraintOp]) -> AsWritten:
    """Another constraint than those with a file of their own (EXCLUDE): there is no online way."""
    operation: Any = call.operation
    if call.table_in_use(operation.table_name, operation.schema) is not None:
        kind = type(operation.to_constraint(call.planning.context)).__name__
        call.planning.warn(f"{operation.table_name}: {kind} can only be added under a lock, as written")
    return as_written(call, operation.table_name, operation.schema)


def validated(
    call: Call[Any],
    table_name: str,
    schema: str | None,
    online: Callable[[Planning, Table, Any], list[Step] | None],
) -> Plan:
    """The steps of ``online``, which validates what was added NOT VALID; as written where it gives None."""
    if call.planning.offline:
        return offline(call, table_name, schema)
    unnamed = call.operation.constraint_name is None  # PostgreSQL's name for it is found out
    table = call.table_in_use(table_name, schema, needs_plan=unnamed)
    steps = (
        online(call.planning, table, call.operation.to_constraint(call.planning.context)) if table else None
    )
    return as_written(call, table_name, schema) if steps is None else steps


def as_written(call: Call[Any], table_name: str, schema: str | None) -> AsWritten:
    """Run as plain Alembic does; taken back by dropping the constraint, where its name is known."""
    name = call.operation.constraint_name
    if name is None:
        return AsWritten(undo=() if call.planning.is_created(table_name, schema) else None)
    constraint = call.operation.to_constraint(call.planning.context)
    drop = drop_constraint_sql(qualified(table_name, schema), call.planning.name_of(constraint))
    return AsWritten(undo=(drop,))


def offline(call: Call[Any], table_name: str, schema: str | None) -> Plan:
    """For a --sql script: NOT VALID, then VALIDATE, where the name is known without asking PostgreSQL."""
    planning = call.planning
    constraint = call.operation.to_constraint(planning.context)
    options = constraint.dialect_options["postgresql"]
    if planning.is_created(table_name, schema) or constraint.name is None or options.get("not_valid"):
        return AsWritten(undo=())
    preparer = planning.context.dialect.identifier_preparer
    name, table = preparer.format_constraint(constraint), preparer.format_table(constraint.table)
    options["not_valid"] = True
    add = planning.compile(AddConstraint(constraint))
    validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    return [
        Step(f"{table}: add {name}, not valid yet", sql=(add,), undo=()),
        Step(f"{table}: validate {name}", sql=(validate,), kind=Kind.LONG, undo=()),
    ]
