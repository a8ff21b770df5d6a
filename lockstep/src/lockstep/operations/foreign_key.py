"""``op.create_foreign_key``: added NOT VALID in a moment, then validated while everybody goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.schema import AddConstraint

from lockstep.errors import LockstepError
from lockstep.operations.add_constraint import validated
from lockstep.operations.register import Call, describe, plans
from lockstep.operations.validation import added_and_validated, merging, rows_where
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning
    from lockstep.steps.step import Step


def _name(operation: ops.CreateForeignKeyOp) -> str:
    columns = ",".join(operation.local_cols)
    return describe(operation, operation.source_table, operation.constraint_name or columns)


@plans(ops.CreateForeignKeyOp, _name)
def create_foreign_key(call: Call[ops.CreateForeignKeyOp]) -> Plan:
    """Taken back by dropping the constraint."""
    return validated(call, call.operation.source_table, call.operation.kw.get("source_schema"), online)


def online(planning: Planning, table: Table, constraint: Any) -> list[Step] | None:
    """ADD FOREIGN KEY NOT VALID under one brief lock on both tables, then VALIDATE. None: as written."""
    if constraint.dialect_options["postgresql"].get("not_valid"):
        return None
    connection = planning.connection
    target = constraint.elements[0].target_fullname.rsplit(".", 1)[0]
    schema, _, target_name = target.rpartition(".")
    parent = catalog.find_table(connection, target_name, schema or None)
    if parent is None:
        raise LockstepError(f"{table}: a foreign key refers to table {target}, which does not exist")
    if table.kind == "p" and catalog.server_version(connection) < 18:
        raise LockstepError(
            f"{table} is partitioned: a foreign key NOT VALID needs PostgreSQL 18 there. "
            "Let the tables be locked with `with lockstep.plain():`"
        )
    columns = list(constraint.column_keys)
    if constraint.name is None:
        constraint.name = catalog.default_name(connection, table, columns, "fkey")
    name = planning.name_of(constraint)
    constraint.dialect_options["postgresql"]["not_valid"] = True
    locks = [(table.sql, "SHARE ROW EXCLUSIVE")]
    if parent.oid != table.oid:
        locks.append((parent.sql, "SHARE ROW EXCLUSIVE"))
    referred = [element.target_fullname.rsplit(".", 1)[1] for element in constraint.elements]
    step = added_and_validated(
        table.sql,
        f"{table}: add foreign key {name}",
        name,
        planning.compile(AddConstraint(constraint)),
        locks=tuple(locks),
        offenders=_offenders(table, parent, columns, referred),
    )
    return [merging(step, table.sql, parent.sql, columns)]


def _offenders(table: Table, parent: Table, columns: Sequence[str], referred: Sequence[str]) -> str:
    """The rows that refer to none."""
    given = " AND ".join(f"lockstep_row.{quote(column)} IS NOT NULL" for column in columns)
    match = " AND ".join(
        f"lockstep_parent.{quote(theirs)} = lockstep_row.{quote(ours)}"
        for ours, theirs in zip(columns, referred, strict=True)
    )
    missing = f"NOT EXISTS (SELECT FROM {parent.sql} lockstep_parent WHERE {match})"
    return rows_where(table.sql, f"{given} AND {missing}")
