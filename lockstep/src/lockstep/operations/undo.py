"""What takes back an operation that runs as written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from lockstep.operations.backfill import plain_name
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.revision.migrator import Migrator


def undo_of(migrator: Migrator, operation: Any) -> tuple[str, ...] | None:
    """Statements that take back an operation that runs as written; None where there are none."""
    if isinstance(operation, ops.CreateTableOp):
        return (f"DROP TABLE IF EXISTS {plain_name(operation)}",)
    if isinstance(operation, ops.AddColumnOp):
        column = quote(operation.column.name)
        return (f"ALTER TABLE {plain_name(operation)} DROP COLUMN IF EXISTS {column}",)
    if isinstance(operation, ops.RenameTableOp):
        schema = f"{quote(operation.schema)}." if operation.schema else ""
        new = f"{schema}{quote(operation.new_table_name)}"
        return (f"ALTER TABLE {new} RENAME TO {quote(operation.table_name)}",)
    if isinstance(operation, ops.CreateIndexOp) and operation.index_name:
        schema = f"{quote(operation.schema)}." if operation.schema else ""
        name = migrator.name_of(operation.to_index(migrator.context))
        return (f"DROP INDEX IF EXISTS {schema}{quote(name)}",)
    if isinstance(operation, ops.AlterColumnOp) and operation.modify_type is None:
        table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
        return None if table is None else undo_alter(migrator.connection, table, operation)
    return None


def undo_alter(connection: Connection, table: Table, operation: ops.AlterColumnOp) -> tuple[str, ...] | None:
    """What takes back the brief changes of a column: its name, default, comment and DROP NOT NULL."""
    column = catalog.columns(connection, table.oid).get(operation.column_name)
    if column is None:
        return None
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column.name)}"
    statements: list[str] = []
    if operation.modify_name is not None:
        new = quote(str(operation.modify_name))
        statements.append(f"ALTER TABLE {table.sql} RENAME COLUMN {new} TO {quote(column.name)}")
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
        comment = "NULL" if text is None else catalog.literal(text)
        statements.append(f"COMMENT ON COLUMN {table.sql}.{quote(column.name)} IS {comment}")
    if operation.modify_nullable is True and column.not_null:
        return None  # rows without a value may have come since
    if operation.modify_nullable is False and not column.not_null:
        statements.append(f"{alter} DROP NOT NULL")
    return tuple(statements)
