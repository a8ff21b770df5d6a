"""``op.create_check_constraint``: added NOT VALID in a moment, then validated while everybody goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.schema import AddConstraint

from lockstep.operations.add_constraint import constraint_name, validated
from lockstep.operations.register import Call, plans
from lockstep.operations.validation import added_and_validated, rows_where
from lockstep.postgres import catalog
from lockstep.postgres.rehearsal import rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.revision.planning import Planning
    from lockstep.steps.step import Step


@plans(ops.CreateCheckConstraintOp, constraint_name)
def create_check_constraint(call: Call[ops.CreateCheckConstraintOp]) -> Plan:
    """Taken back by dropping the constraint."""
    return validated(call, call.operation.table_name, call.operation.schema, online)


def online(
    planning: Planning, table: Table, constraint: Any, prepare: Callable[[Copy], None] = lambda _: None
) -> list[Step] | None:
    """ADD CHECK NOT VALID, then VALIDATE. None: as written.

    ``prepare`` brings the rehearsal's copy of the table to where the constraint can be added.
    """
    options = constraint.dialect_options["postgresql"]
    if options.get("not_valid"):
        return None
    if constraint.name is None:
        constraint.name = _rehearsed_name(planning, table, constraint, prepare)
    name = planning.name_of(constraint)
    options["not_valid"] = True
    expression = str(constraint.sqltext.compile(dialect=planning.context.dialect)).replace("%%", "%")
    return [
        added_and_validated(
            table.sql,
            f"{table}: add check {name}",
            name,
            planning.compile(AddConstraint(constraint)),
            offenders=rows_where(table.sql, f"NOT ({expression})"),
        )
    ]


_COLUMNS_OF_NEWEST_CHECK = """
SELECT a.attname AS name FROM pg_constraint c, unnest(c.conkey) k(n)
JOIN pg_attribute a ON a.attnum = k.n
WHERE a.attrelid = c.conrelid AND c.oid = (
    SELECT max(oid) FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c')
"""


def _rehearsed_name(
    planning: Planning, table: Table, constraint: Any, prepare: Callable[[Copy], None]
) -> str:
    """The name that PostgreSQL gives it."""
    connection = planning.connection
    with rehearsal(connection, table) as copy:
        prepare(copy)
        schema, constraint.table.schema = constraint.table.schema, "pg_temp"
        copy.run(planning.compile(AddConstraint(constraint)))
        constraint.table.schema = schema
        columns = [row.name for row in catalog.rows(connection, _COLUMNS_OF_NEWEST_CHECK, oid=copy.oid)]
    # PostgreSQL puts the column into the name only where the expression speaks of exactly one.
    return catalog.default_name(connection, table, columns if len(columns) == 1 else [], "check")
