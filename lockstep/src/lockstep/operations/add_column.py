"""``op.add_column`` without rewriting the table.

A constant default is one short step. A volatile one is set for new rows, then filled in for old ones; UNIQUE,
REFERENCES, CHECK and an index are taken apart. NOT NULL without a default is refused where there are rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.ddl.base import AddColumn
from alembic.operations import ops
from sqlalchemy.schema import CreateIndex, SetColumnComment

from lockstep.archive import registry as archive
from lockstep.archive.keep_column import undo_add_column, undo_add_column_at_once
from lockstep.archive.renamed import made_here
from lockstep.archive.restore_column import restore_added
from lockstep.errors import LockstepError
from lockstep.operations import check_constraint, foreign_key, index_build, unique_constraint
from lockstep.operations.alter_column_nullable import not_null_steps
from lockstep.operations.fillable import refuse_unfillable
from lockstep.operations.register import Call, describe, performs
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, qualified, quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.postgres.triggers import must_suppress_triggers
from lockstep.private_names import copy_of, is_wanted
from lockstep.steps.step import AsWritten, Fill, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Column, Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.revision.planning import Planning


@performs(ops.AddColumnOp, lambda op: describe(op, op.table_name, op.column.name))
def add_column(call: Call[ops.AddColumnOp]) -> Any:
    """Taken back by dropping the column, unless it was there before (if_not_exists).

    Values that a downgrade kept are given back.
    """
    operation, name = call.operation, str(call.operation.column.name)
    if operation.if_not_exists and call.exists(operation.table_name, operation.schema, name):
        return call.perform(lambda: AsWritten(undo=()))
    call.planning.touched.added.add((operation.table_name, name))
    call.refuse_in_savepoint(
        "the values that a downgrade kept cannot be given back", lambda: _kept_values(call)
    )
    return call.perform(lambda: _plan(call))


def _kept_values(call: Call[ops.AddColumnOp]) -> object:
    operation = call.operation
    if call.planning.offline or not call.planning.keeps:
        return None
    table = call.planning.find_table(operation.table_name, operation.schema)
    name = str(operation.column.name)
    return table and made_here(
        call.planning, archive.of_revision(call.planning), (table.schema, table.name, name)
    )


def _plan(call: Call[ops.AddColumnOp]) -> Plan:
    operation, planning = call.operation, call.planning
    needs_plan = bool(_kept_values(call))  # which are given back
    table = call.table_in_use(operation.table_name, operation.schema, needs_plan=needs_plan)
    if table is None:
        return AsWritten(undo=_undo_as_written(call))
    column = copy_of(operation.column)
    if getattr(operation, "inline_primary_key", False) and column.primary_key:  # Alembic 1.18
        return AsWritten(undo=_undo_as_written(call))
    holder = planning.plain_operations().schema_obj.table(table.name, column, schema=operation.schema)
    holder.schema = table.schema  # the names that are made of the table's are plain Alembic's by now
    trial = planning.compile(AddColumn(table.name, column, schema="pg_temp"))
    added = _rehearse(planning, table, column.name, trial)
    says_nothing = added.column.not_null and added.column.default is None and not added.column.identity
    if (
        says_nothing
        and not needs_plan
        and not catalog.is_empty(planning.connection, table, however_large=True)
    ):
        raise LockstepError(_refusal(table, operation))
    if added.rewrites and (added.column.generated or added.is_domain):
        kind = "stored generated column" if added.column.generated else "column of a domain with constraints"
        planning.warn(
            f"{table}.{column.name}: a {kind} can only be added by rewriting the table, "
            "which is locked for as long as that takes"
        )
        return AsWritten(undo=_undo_as_written(call))
    comment = [planning.compile(SetColumnComment(column))] if column.comment is not None else []
    unchanged = [added.column.default] if added.column.default and not added.rewrites else []
    undo = undo_add_column(call.planning, table, column.name, unchanged)
    if added.rewrites:
        refuse_unfillable(planning.connection, table, f"filling the new {column.name}")
        steps = _filled_afterwards(planning, table, added, comment, undo)
    else:
        column.nullable = says_nothing or column.nullable  # NOT NULL would read all dead rows under a lock
        add = planning.compile(AddColumn(table.name, column, schema=table.schema))
        name = f"{table}: add column {column.name}"
        steps = [Step(name, sql=(add, *comment), undo=undo[1], before_undo=undo[0])]
        if says_nothing:
            steps += not_null_steps(planning.connection, table, column.name)
    steps[1:1] = restore_added(
        call.planning, table, column.name, added.column.type_sql,
        None if added.rewrites else added.column.default,
    )  # fmt: skip
    return [*steps, *_parts_of(planning, table, holder, lambda copy: copy.run(trial))]


def _undo_as_written(call: Call[ops.AddColumnOp]) -> tuple[str, ...]:
    operation, planning = call.operation, call.planning
    if planning.offline or planning.is_created(operation.table_name, operation.schema):
        return ()  # the table goes as a whole, and is kept with this column in it
    table = planning.find_table(operation.table_name, operation.schema)
    column = operation.column
    nulls = column.server_default is not None and column.computed is None and column.identity is None
    return undo_add_column_at_once(call.planning, table, column.name, nulls=nulls) if table else ()


@dataclass(frozen=True)
class _Added:
    """The column as PostgreSQL adds it to an empty copy of the table."""

    column: Column
    rewrites: bool
    """Whether PostgreSQL would rewrite the table: each row has a value of its own."""
    identity: str
    """Its identity, as SQL; empty where it has none."""
    is_serial: bool
    is_domain: bool


def _rehearse(planning: Planning, table: Table, name: str, trial: str) -> _Added:
    connection = planning.connection
    with rehearsal(connection, table) as copy:
        before = copy.filenode()
        copy.run(trial)
        column = catalog.columns(connection, copy.oid)[name]
        sequence = "SELECT pg_get_serial_sequence(%(table)s, %(column)s)"
        is_domain = "SELECT typtype = 'd' FROM pg_type WHERE oid = to_regtype(%(type)s)"
        return _Added(
            column,
            rewrites=copy.filenode() != before,
            identity=catalog.identity_options(connection, copy.oid, column.number) if column.identity else "",
            is_domain=bool(catalog.scalar(connection, is_domain, type=column.type_sql)),
            is_serial=bool(catalog.scalar(connection, sequence, table=copy.sql, column=name)),
        )


def _refusal(table: Table, operation: ops.AddColumnOp) -> str:
    column = operation.column
    where = f", schema={operation.schema!r}" if operation.schema else ""
    return (
        f"{table} has rows, and the new column {column.name} is NOT NULL without a default: what would these "
        "rows have in it? Write three lines instead:\n"
        f'    op.add_column("{table.name}", sa.Column("{column.name}", sa.{column.type!r}){where})\n'
        f'    op.backfill("{table.name}", {{"{column.name}": VALUE}}, where="{column.name} IS NULL"{where})\n'
        f'    op.alter_column("{table.name}", "{column.name}", nullable=False{where})\n'
        "with the VALUE that rows get which are there already. If the running program does not write the "
        "column yet, give it a server_default, too: its rows would be refused"
    )


def _filled_afterwards(
    planning: Planning,
    table: Table,
    added: _Added,
    comment: list[str],
    undo: tuple[tuple[Step, ...], tuple[str, ...]],
) -> list[Step]:
    """Add the column empty, with its default for new rows; fill the old ones; then NOT NULL and identity."""
    connection, column = planning.connection, added.column
    name = quote(column.name)
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {name}"
    add = [f"ALTER TABLE {table.sql} ADD COLUMN {name} {column.definition}"]
    default = column.default
    sequence = ""
    if added.identity or added.is_serial:
        sequence = qualified(catalog.default_name(connection, table, [column.name], "seq"), table.schema)
        add += [
            f"CREATE SEQUENCE {sequence} AS {column.type_sql}",
            *_given_to_owner(connection, table, f"SEQUENCE {sequence}"),
            f"ALTER SEQUENCE {sequence} OWNED BY {table.sql}.{name}",
        ]
        default = f"nextval({literal(sequence)}::regclass)"
    fill = Fill(
        table.sql,
        f"{name} = DEFAULT",
        f"{name} IS NULL",
        without_triggers=must_suppress_triggers(connection, table, f"filling the new {column.name}"),
        columns=(column.name,),
        parallel=True,
    )
    steps = [
        Step(
            f"{table}: add column {column.name}",
            sql=(*add, f"{alter} SET DEFAULT {default}", *comment),
            undo=undo[1],
            before_undo=undo[0],
        ),
        Step(
            f"{table}: fill column {column.name} of the rows that were there",
            kind=Kind.FILL,
            fill=fill,
            undo=(),
        ),
    ]
    steps.append(index_build.analyze(table, column.name))
    if column.not_null:
        steps += not_null_steps(connection, table, column.name)
    if added.identity:
        steps.append(_make_identity(table, column.name, added.identity, sequence))
    return steps


def _given_to_owner(connection: sa.Connection, table: Table, thing: str) -> list[str]:
    """The statement that gives a new object to the owner of a table, as PostgreSQL does with what ALTER TABLE
    makes; none where the migrator owns the table.
    """
    owner = catalog.scalar(
        connection,
        "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class "
        "WHERE oid = %(oid)s AND relowner <> current_user::regrole",
        oid=table.oid,
    )
    return [f"ALTER {thing} OWNER TO {owner}"] if owner else []


def _make_identity(table: Table, column: str, identity: str, sequence: str) -> Step:
    """The default from a sequence becomes GENERATED … AS IDENTITY, which goes on where the sequence was."""
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column)}"
    return Step(
        f"{table}.{column}: make it an identity column",
        sql=(
            f"SELECT set_config('lockstep.sequence', nextval({literal(sequence)})::text, true)",
            f"{alter} DROP DEFAULT",
            f"DROP SEQUENCE {sequence}",
            f"{alter} ADD GENERATED {identity.format(name=sequence)}",
            f"SELECT setval({literal(sequence)}, current_setting('lockstep.sequence')::bigint, false)",
        ),
        locks=((table.sql, "ACCESS EXCLUSIVE"),),
        undo=(f"{alter} DROP IDENTITY",),
    )


def _parts_of(
    planning: Planning, table: Table, holder: sa.Table, prepare: Callable[[Copy], None]
) -> list[Step]:
    """What a column brings along: its foreign key, CHECK, UNIQUE and index, each the online way."""
    steps: list[Step] = []
    for constraint in sorted(holder.constraints, key=lambda c: (str(c.name or ""), type(c).__name__)):
        if not is_wanted(constraint, planning.context.impl):
            continue
        if isinstance(constraint, sa.ForeignKeyConstraint):
            steps += foreign_key.online(planning, table, constraint) or []
        elif isinstance(constraint, sa.UniqueConstraint):
            steps += unique_constraint.online(planning, table, constraint, prepare)
        elif isinstance(constraint, sa.CheckConstraint):
            steps += check_constraint.online(planning, table, constraint, prepare) or []
    for index in holder.indexes:
        index.dialect_options["postgresql"]["concurrently"] = True
        name = planning.name_of(index)
        index_build.refuse_namesake(planning.connection, table, name)
        steps.append(index_build.build(table, name, planning.compile(CreateIndex(index))))
    return steps
