"""``op.create_unique_constraint`` and ``op.create_primary_key``: on an index, built CONCURRENTLY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.schema import AddConstraint

from lockstep.errors import LockstepError
from lockstep.operations import add_constraint
from lockstep.operations.add_constraint import constraint_name
from lockstep.operations.alter_column_nullable import set_not_null
from lockstep.operations.index_build import build, refuse_namesake
from lockstep.operations.register import Call, plans
from lockstep.operations.validation import drop_constraint_sql
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.revision.planning import Planning


@plans(ops.CreateUniqueConstraintOp, constraint_name)
def create_unique_constraint(call: Call[ops.CreateUniqueConstraintOp]) -> Plan:
    """Taken back by dropping the constraint, and with it the index."""
    return _plan(call)


@plans(ops.CreatePrimaryKeyOp, constraint_name)
def create_primary_key(call: Call[ops.CreatePrimaryKeyOp]) -> Plan:
    """NOT NULL of its columns first; taken back by dropping the constraint, then NOT NULL."""
    return _plan(call)


def _plan(call: Call[ops.CreateUniqueConstraintOp] | Call[ops.CreatePrimaryKeyOp]) -> Plan:
    operation, planning = call.operation, call.planning
    # A key's columns become NOT NULL, and a name that PostgreSQL gives is found out.
    needs_plan = isinstance(operation, ops.CreatePrimaryKeyOp) or operation.constraint_name is None
    table = call.table_in_use(operation.table_name, operation.schema, needs_plan=needs_plan)
    if table is None:
        return add_constraint.as_written(call, operation.table_name, operation.schema)
    constraint: Any = operation.to_constraint(planning.context)
    steps: list[Step] = []
    if isinstance(constraint, sa.PrimaryKeyConstraint):
        for column in constraint.columns:
            steps += set_not_null(planning.connection, table, column.name)
    return [*steps, *online(planning, table, constraint)]


_NEWEST_CONSTRAINT = """
SELECT c.conname AS name, pg_get_indexdef(c.conindid) AS definition, c.condeferrable AS is_deferrable,
       c.condeferred AS is_deferred,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, p)
             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.p) AS columns
FROM pg_constraint c WHERE c.conrelid = %(oid)s AND c.contype = %(kind)s
ORDER BY c.oid DESC LIMIT 1
"""


def online(
    planning: Planning, table: Table, constraint: Any, prepare: Callable[[Copy], None] = lambda _: None
) -> list[Step]:
    """UNIQUE or PRIMARY KEY: a unique index CONCURRENTLY, then the constraint USING INDEX.

    ``prepare`` brings the rehearsal's copy of the table to where the constraint can be added. The steps that
    make a primary key's columns NOT NULL are the caller's.
    """
    connection = planning.connection
    is_primary = isinstance(constraint, sa.PrimaryKeyConstraint)
    kind = "p" if is_primary else "u"
    if table.kind == "p" or catalog.inherits(connection, table):
        raise LockstepError(
            f"{table} is partitioned or inherited: PostgreSQL cannot add a constraint from an index there. "
            "Let the table be locked with `with lockstep.plain():`"
        )
    with rehearsal(connection, table) as copy:
        prepare(copy)
        if is_primary:
            _refuse_second_key(copy, table)
        schema, constraint.table.schema = constraint.table.schema, "pg_temp"
        copy.run(planning.compile(AddConstraint(constraint)))
        constraint.table.schema = schema
        (made,) = catalog.rows(connection, _NEWEST_CONSTRAINT, oid=copy.oid, kind=kind)
    name = made.name
    if constraint.name is None:
        parts = [] if is_primary else made.columns
        name = catalog.default_name(connection, table, parts, "pkey" if is_primary else "key")
    refuse_namesake(connection, table, name)
    tail = made.definition[made.definition.index(" USING ") :]
    words = "PRIMARY KEY" if is_primary else "UNIQUE"
    timing = (" DEFERRABLE" if made.is_deferrable else "") + (
        " INITIALLY DEFERRED" if made.is_deferred else ""
    )
    add = f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} {words} USING INDEX {quote(name)}{timing}"
    return [
        build(table, name, f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {table.sql}{tail}"),
        Step(
            f"{table}: add constraint {name} on its index",
            sql=(add,),
            undo=(drop_constraint_sql(table.sql, name),),
        ),
    ]


def _refuse_second_key(copy: Copy, table: Table) -> None:
    existing = catalog.scalar(
        copy.connection,
        "SELECT conname FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'p'",
        oid=copy.oid,
    )
    if existing:
        raise LockstepError(f"{table} has a primary key already ({existing})")
