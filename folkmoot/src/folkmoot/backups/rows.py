"""What is in a database, in numbers that a restored one must have, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row

if TYPE_CHECKING:
    from psycopg import Connection

#: Which tables a backup has: not what belongs to an extension, nor what is not logged.
_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name,
           coalesce(array_agg(a.attname::text ORDER BY a.attnum)
               FILTER (WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), '{}') AS columns
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_attribute AS a ON a.attrelid = c.oid
     WHERE c.relkind = 'r' AND c.relpersistence = 'p'
       AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
       AND NOT EXISTS (SELECT FROM pg_depend AS d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname
"""
#: A row reads the same whatever the server's own settings are.
_SETTINGS = (
    "SET timezone = 'UTC'", "SET datestyle = 'ISO, YMD'", "SET intervalstyle = 'postgres'",
    "SET bytea_output = 'hex'", "SET extra_float_digits = 1",
    # Whoever serves needs the processors, too; and a role may have limits that are made for requests.
    "SET max_parallel_workers_per_gather = 0", "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0", "SET lock_timeout = '60s'",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table whose rows are kept."""

    schema: str
    name: str
    columns: list[str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Composable:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Rows:
    """How many rows a table has, and the sum of their hashes: two tables of the same rows have the same."""

    number: int
    digest: str


def prepare(connection: Connection) -> None:
    """Set what counting needs; the connection is in autocommit mode."""
    for each in _SETTINGS:
        connection.execute(each.encode())


def tables(connection: Connection) -> list[Table]:
    return connection.cursor(row_factory=class_row(Table)).execute(_TABLES).fetchall()


def count(connection: Connection, table: Table) -> Rows:
    """Read a table from end to end. What PostgreSQL computes of a row itself is not compared."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL(
        "SELECT count(*) AS number, coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0)::text"
        " AS digest FROM ONLY {}"
    )
    cursor = connection.cursor(row_factory=class_row(Rows))
    return cursor.execute(statement.format(columns, table.identifier)).fetchone() or Rows(0, "0")
