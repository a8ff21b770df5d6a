"""``op.alter_column``: a type goes by a shadow column where PostgreSQL would rewrite the table, NOT NULL by a
validated constraint; everything else is one short step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from lockstep.operations.alter_column_nullable import set_not_null
from lockstep.operations.column_type import retype
from lockstep.operations.register import Call, describe, performs
from lockstep.postgres import catalog
from lockstep.postgres.catalog import TABLE, literal, qualified, quote, table_of
from lockstep.postgres.rehearsal import rehearsal
from lockstep.revision.renames import Rename
from lockstep.revision.together import are_small
from lockstep.steps.step import AsWritten, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table


@performs(ops.AlterColumnOp, lambda op: describe(op, op.table_name, op.column_name))
def alter_column(call: Call[ops.AlterColumnOp]) -> Any:
    """What is kept follows a new name."""
    operation = call.operation
    result = call.perform(lambda: _plan(call))
    if operation.modify_name is not None:
        table, column, new = operation.table_name, operation.column_name, str(operation.modify_name)
        call.planning.note_rename(Rename(operation.schema, table, column, new_name=new))
    return result


def _plan(call: Call[ops.AlterColumnOp]) -> Plan:
    """The type first; then the default, so that new rows have a value before NOT NULL asks for one; then the
    comment and the name.
    """
    operation, planning = call.operation, call.planning
    column = operation.column_name
    changes_type = operation.modify_type is not None
    if not changes_type and operation.modify_nullable is not False:
        return _as_written(call)
    is_moment = changes_type and _is_a_moment(call)
    needs_plan = changes_type and not is_moment
    table = call.table_in_use(operation.table_name, operation.schema, needs_plan=needs_plan)
    if table is None:
        return _as_written(call)
    steps: list[Step] = []
    if operation.modify_type is not None:
        statements = call.plain_sql(_part(operation, type_=operation.modify_type))
        if len(statements) > 1:
            planning.warn(f"{table}.{column}: its type has a CHECK of its own; the change runs as written")
            return _as_written(call)
        if is_moment:
            # Only so the column keeps its place in the row, and the rows their order.
            return _as_written(call)
        steps += _change_type(call, table, statements)
    not_null = operation.modify_nullable is False
    default = _part(operation, server_default=operation.modify_server_default)
    rest = _part(
        operation,
        nullable=operation.modify_nullable or None,
        server_default=False if not_null else operation.modify_server_default,
        comment=operation.modify_comment,
        new_column_name=operation.modify_name,
    )
    if not_null:
        steps += _brief(call, table, default)
        steps += set_not_null(planning.connection, table, column)
    return [*steps, *_brief(call, table, rest)]


def _brief(call: Call[ops.AlterColumnOp], table: Table, part: ops.AlterColumnOp) -> list[Step]:
    """What takes a moment, in one step."""
    statements = call.plain_sql(part)
    undo = _undo(call.planning.connection, table, part)
    described = f"{table}: alter column {part.column_name}"
    return [Step(described, sql=tuple(statements), undo=undo)] if statements else []


def _as_written(call: Call[ops.AlterColumnOp]) -> AsWritten:
    operation = call.operation
    if call.planning.offline or operation.modify_type is not None:
        return AsWritten(undo=None)
    table = call.planning.find_table(operation.table_name, operation.schema)
    return AsWritten(undo=None if table is None else _undo(call.planning.connection, table, operation))


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


def _change_type(call: Call[ops.AlterColumnOp], table: Table, statements: list[str]) -> list[Step]:
    """One short step where PostgreSQL rewrites neither the table nor an index: asked of an empty copy."""
    operation = call.operation
    change = _part(operation, type_=operation.modify_type)
    change.schema = "pg_temp"
    trial = call.plain_sql(change)[0]
    with rehearsal(call.planning.connection, table) as copy:
        before = copy.filenodes()
        copy.run(trial)
        rewritten = copy.filenodes() != before
    if not rewritten:
        described = f"{table}: change the type of {operation.column_name}"
        return [Step(described, sql=tuple(statements), undo=None)]
    using = operation.kw.get("postgresql_using")
    return retype(
        call.planning, table, operation.column_name, trial, str(using) if using is not None else None
    )


def _is_a_moment(call: Call[ops.AlterColumnOp]) -> bool:
    """Whether the table is small, and so are those at the other end of the column's foreign keys."""
    operation, planning = call.operation, call.planning
    if (
        planning.offline
        or not planning.short_way
        or planning.is_created(operation.table_name, operation.schema)
    ):
        return False
    found = catalog.rows(
        planning.connection,
        _SMALL_WITH_ITS_KEYS,
        name=qualified(operation.table_name, operation.schema),
        column=operation.column_name,
    )
    planning.note_table(operation.table_name, operation.schema, table_of(found[0]) if found else None)
    return bool(
        found and found[0].ordinary and are_small(list(zip(found[0].oids, found[0].sizes, strict=True)))
    )


#: A table, and the sizes of those that foreign keys of the column connect it to, its own among them.
_SMALL_WITH_ITS_KEYS = f"""
SELECT {TABLE}, ends.*
FROM pg_class c CROSS JOIN LATERAL (
    SELECT bool_and(relkind = 'r') AS ordinary, array_agg(oid::int8) AS oids,
           array_agg(pg_relation_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)) AS sizes
    FROM pg_class WHERE oid IN (
        SELECT c.oid UNION SELECT unnest(ARRAY[k.conrelid, k.confrelid])
        FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s
        WHERE k.contype = 'f' AND (k.conrelid = c.oid AND a.attnum = ANY (k.conkey)
                                OR k.confrelid = c.oid AND a.attnum = ANY (k.confkey)))
) ends WHERE c.oid = to_regclass(%(name)s)
"""


def _undo(connection: Connection, table: Table, operation: ops.AlterColumnOp) -> tuple[str, ...] | None:
    """What takes back the brief changes of a column: its name, default, comment and DROP NOT NULL."""
    name = quote(operation.column_name)
    statements: list[str] = []
    if operation.modify_name is not None:
        new = quote(str(operation.modify_name))
        statements.append(f"ALTER TABLE {table.sql} RENAME COLUMN {new} TO {name}")
    if (
        operation.modify_server_default is False
        and operation.modify_comment is False
        and operation.modify_nullable is None
    ):
        return tuple(statements)  # nothing else is to be asked
    column = catalog.columns(connection, table.oid).get(operation.column_name)
    if column is None:
        return None
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {name}"
    if operation.modify_server_default is not False:
        if column.identity or column.generated:
            return None
        statements.append(
            f"{alter} SET DEFAULT {column.default}" if column.default else f"{alter} DROP DEFAULT"
        )
    if operation.modify_comment is not False:
        text = catalog.scalar(
            connection, "SELECT col_description(%(oid)s, %(number)s)", oid=table.oid, number=column.number
        )
        comment = "NULL" if text is None else literal(text)
        statements.append(f"COMMENT ON COLUMN {table.sql}.{name} IS {comment}")
    if operation.modify_nullable is True and column.not_null:
        return None  # rows without a value may have come since
    if operation.modify_nullable is False and not column.not_null:
        statements.append(f"{alter} DROP NOT NULL")
    return tuple(statements)
