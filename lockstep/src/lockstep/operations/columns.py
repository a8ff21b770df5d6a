"""Adding and altering columns without rewriting or scanning the table under a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.ddl.base import AddColumn
from alembic.operations import ops
from sqlalchemy.schema import CreateIndex, SetColumnComment

from lockstep.archive import restore as giving_back
from lockstep.errors import LockstepError
from lockstep.operations import constraints, indexes
from lockstep.operations.column_type import retype
from lockstep.operations.fillable import refuse_unfillable
from lockstep.operations.undo import undo_alter
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.rehearsal import Copy, rehearsal
from lockstep.postgres.triggers import must_suppress_triggers
from lockstep.steps.step import Fill, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.postgres.catalog import Column, Table
    from lockstep.revision.migrator import Migrator


def add_column(migrator: Migrator, table: Table, operation: ops.AddColumnOp) -> list[Step] | None:
    """A constant default is one short step. A volatile one is set for new rows, then filled in for old ones;
    UNIQUE, REFERENCES, CHECK and an index are taken apart. NOT NULL without a default is refused.
    """
    connection = migrator.connection
    column = operation.column._copy()  # noqa: SLF001  # as Alembic does: it may belong to a table already
    if operation.if_not_exists and column.name in catalog.columns(connection, table.oid):
        return []
    if operation.inline_primary_key and column.primary_key:
        return None
    holder = migrator.plain_operations().schema_obj.table(table.name, column, schema=table.schema)
    trial = migrator.compile(AddColumn(table.name, column, schema="pg_temp"))
    with rehearsal(connection, table) as copy:
        before = copy.filenode()
        copy.run(trial)
        rewritten = copy.filenode() != before
        became = catalog.columns(connection, copy.oid)[column.name]
        identity = catalog.identity_options(connection, copy.oid, became.number) if became.identity else ""
        serial = bool(
            catalog.scalar(
                connection,
                "SELECT pg_get_serial_sequence(%(table)s, %(column)s)",
                table=copy.sql,
                column=column.name,
            )
        )
    if became.not_null and became.default is None and not became.identity:
        raise LockstepError(_refusal(table, operation))
    if rewritten and became.generated:
        migrator.warn(
            f"{table}.{column.name}: a stored generated column can only be added by rewriting the table, "
            "which is locked for as long as that takes"
        )
        return None
    undo = (f"ALTER TABLE {table.sql} DROP COLUMN IF EXISTS {quote(column.name)}",)
    comment = [migrator.compile(SetColumnComment(column))] if column.comment is not None else []
    give_back = giving_back.give_back_column(
        migrator, table, column.name, became.type_sql, None if rewritten else became.default
    )
    if rewritten:
        refuse_unfillable(connection, table, f"filling the new {column.name}")
        steps = _filled_afterwards(migrator, table, became, identity, comment, undo, serial=serial)
    else:
        add = migrator.compile(AddColumn(table.name, column, schema=table.schema))
        steps = [Step(f"{table}: add column {column.name}", sql=(add, *comment), undo=undo)]
    steps[1:1] = give_back
    return [*steps, *_parts_of(migrator, table, holder, lambda copy: copy.run(trial))]


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
    migrator: Migrator,
    table: Table,
    became: Column,
    identity: str,
    comment: list[str],
    undo: tuple[str, ...],
    *,
    serial: bool,
) -> list[Step]:
    """Add the column empty, with its default for new rows; fill the old ones; then NOT NULL and identity."""
    connection = migrator.connection
    name, said = quote(became.name), f"{table}: add column {became.name}"
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {name}"
    add = [f"ALTER TABLE {table.sql} ADD COLUMN {name} {became.definition}"]
    default = became.default
    sequence = ""
    if identity or serial:
        sequence = (
            f"{quote(table.schema)}.{quote(catalog.default_name(connection, table, [became.name], 'seq'))}"
        )
        add.append(f"CREATE SEQUENCE {sequence} AS {became.type_sql} OWNED BY {table.sql}.{name}")
        default = f"nextval({catalog.literal(sequence)}::regclass)"
    steps = [
        Step(said, sql=(*add, f"{alter} SET DEFAULT {default}", *comment), undo=undo),
        Step(
            f"{table}: fill column {became.name} of the rows that were there",
            kind=Kind.FILL,
            fill=Fill(
                table.sql,
                f"{name} = DEFAULT",
                f"{name} IS NULL",
                without_triggers=must_suppress_triggers(connection, table, f"filling the new {became.name}"),
                columns=(became.name,),
                parallel=True,
            ),
            undo=(),
        ),
    ]
    if became.not_null:
        steps += constraints.not_null_steps(connection, table, became.name)
    if identity:
        kept = f"set_config('lockstep.sequence', nextval({catalog.literal(sequence)})::text, true)"
        steps.append(
            Step(
                f"{table}.{became.name}: make it an identity column",
                sql=(
                    f"SELECT {kept}",
                    f"{alter} DROP DEFAULT",
                    f"DROP SEQUENCE {sequence}",
                    f"{alter} ADD GENERATED {identity.format(name=sequence)}",
                    f"SELECT setval({catalog.literal(sequence)}, "
                    "current_setting('lockstep.sequence')::bigint, false)",
                ),
                locks=((table.sql, "ACCESS EXCLUSIVE"),),
                undo=(f"{alter} DROP IDENTITY",),
            )
        )
    return steps


def _parts_of(
    migrator: Migrator, table: Table, holder: sa.Table, prepare: Callable[[Copy], None]
) -> list[Step]:
    """What a column brings along: its foreign key, CHECK, UNIQUE and index, each the online way."""
    steps: list[Step] = []
    for constraint in sorted(holder.constraints, key=lambda c: (str(c.name or ""), type(c).__name__)):
        rule = constraint._create_rule  # noqa: SLF001  # a type's CHECK is not always wanted
        if rule is not None and not rule(migrator.context.impl):
            continue
        if isinstance(constraint, sa.ForeignKeyConstraint):
            steps += constraints.foreign_key(migrator, table, constraint) or []
        elif isinstance(constraint, sa.UniqueConstraint):
            steps += indexes.constraint_on_index(migrator, table, constraint, "u", prepare)
        elif isinstance(constraint, sa.CheckConstraint):
            steps += constraints.check(migrator, table, constraint, prepare) or []
    for index in holder.indexes:
        index.dialect_options["postgresql"]["concurrently"] = True
        name = migrator.name_of(index)
        indexes.refuse_namesake(migrator.connection, table, name)
        steps.append(indexes.build(table, name, migrator.compile(CreateIndex(index))))
    return steps


def alter_column(
    migrator: Migrator,
    table: Table,
    operation: ops.AlterColumnOp,
    sql_of: Callable[[ops.AlterColumnOp], list[str]],
) -> list[Step] | None:
    """A type that PostgreSQL would rewrite the table for goes by a shadow column; NOT NULL by a validated
    constraint; everything else is one short step. ``sql_of`` gives what plain Alembic would send.
    """
    column = operation.column_name
    if operation.modify_type is None and operation.modify_nullable is not False:
        return None
    steps: list[Step] = []
    if operation.modify_type is not None:
        change = _part(operation, type_=operation.modify_type)
        statements = sql_of(change)
        if len(statements) > 1:
            migrator.warn(f"{table}.{column}: its type has a CHECK of its own; the change runs as written")
            return None
        steps += _change_type(migrator, table, operation, statements, sql_of)
    if operation.modify_nullable is False:
        steps += constraints.not_null(migrator.connection, table, column)
    rest = _part(
        operation,
        nullable=operation.modify_nullable or None,
        server_default=operation.modify_server_default,
        comment=operation.modify_comment,
        new_column_name=operation.modify_name,
    )
    if statements := sql_of(rest):
        steps.append(
            Step(
                f"{table}: alter column {column}",
                sql=tuple(statements),
                undo=undo_alter(migrator.connection, table, rest),
            )
        )
    return steps


def _part(operation: ops.AlterColumnOp, **changes: Any) -> ops.AlterColumnOp:
    """The same operation with only some of its changes."""
    keywords = dict(operation.kw)
    if "type_" not in changes:
        keywords.pop("postgresql_using", None)
    return ops.AlterColumnOp(
        operation.table_name,
        operation.column_name,
        schema=operation.schema,
        existing_type=operation.existing_type,
        existing_server_default=operation.existing_server_default,
        existing_nullable=operation.existing_nullable,
        existing_comment=operation.existing_comment,
        modify_type=changes.get("type_"),
        modify_nullable=changes.get("nullable"),
        modify_server_default=changes.get("server_default", False),
        modify_name=changes.get("new_column_name"),
        modify_comment=changes.get("comment", False),
        **keywords,
    )


def _change_type(
    migrator: Migrator,
    table: Table,
    operation: ops.AlterColumnOp,
    statements: list[str],
    sql_of: Callable[[ops.AlterColumnOp], list[str]],
) -> list[Step]:
    change = _part(operation, type_=operation.modify_type)
    change.schema = "pg_temp"
    trial = sql_of(change)[0]
    with rehearsal(migrator.connection, table) as copy:
        before = copy.filenodes()
        copy.run(trial)
        rewritten = copy.filenodes() != before
    if not rewritten:
        return [
            Step(f"{table}: change the type of {operation.column_name}", sql=tuple(statements), undo=None)
        ]
    using = operation.kw.get("postgresql_using")
    return retype(migrator, table, operation.column_name, trial, str(using) if using is not None else None)
