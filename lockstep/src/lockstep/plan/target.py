"""What the database that is to be migrated says of itself: how large its tables are. It is only read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.plan.operation import TableName
from lockstep.postgres import catalog
from lockstep.postgres.session import execute
from lockstep.revision.planning import SMALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


#: What a table is taken for, by its size.
SIZES = ("empty", "small", "large")


@dataclass(frozen=True)
class Size:
    """How large a table is."""

    rows: int | None
    """As PostgreSQL estimates; None where it was never analyzed."""
    bytes: int
    """With its indexes and TOAST."""
    heap: int
    """Without its indexes."""

    @property
    def is_small(self) -> bool:
        """Whether what reads or rewrites it takes a few milliseconds."""
        return self.heap <= SMALL

    @property
    def named(self) -> str:
        """Which of ``SIZES`` it is."""
        return SIZES[0] if self.heap == 0 else SIZES[1 if self.is_small else 2]


@dataclass(frozen=True)
class Target:
    """The database that a plan is for."""

    database: str
    server_version: str
    heads: tuple[str, ...]
    tables: Mapping[TableName, Size]

    def is_large(self, table: TableName) -> bool:
        """Whether somebody notices how long it takes to read a table."""
        size = self.tables.get(table)
        return size is not None and not size.is_small

    def has_rows(self, table: TableName) -> bool:
        size = self.tables.get(table)
        return size is not None and size.heap > 0 and size.rows != 0


#: A table that somebody has locked against everything is not waited for: its last known number of pages.
_SIZES = """
SELECT n.nspname::text AS schema, c.relname::text AS name,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::int8 ELSE s.n_live_tup END AS rows,
       CASE WHEN l.locked THEN c.relpages * 8192::int8 ELSE pg_total_relation_size(c.oid) END AS bytes,
       CASE WHEN l.locked THEN c.relpages * 8192::int8
            ELSE pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
       END AS heap
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM pg_locks WHERE relation = c.oid AND mode = 'AccessExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked) l
WHERE c.relkind IN ('r', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
"""


def read(connection: Connection, heads: tuple[str, ...]) -> Target:
    """Look, in a transaction that can't write."""
    execute(connection, "SET TRANSACTION READ ONLY")
    database, version = catalog.rows(
        connection, "SELECT current_database()::text, current_setting('server_version')"
    )[0]
    return Target(database, version, heads, sizes(connection))


def sizes(connection: Connection) -> dict[TableName, Size]:
    """How large each table is."""
    return {
        TableName(row.schema, row.name): Size(
            None if row.rows is None else int(row.rows), int(row.bytes or 0), int(row.heap or 0)
        )
        for row in catalog.rows(connection, _SIZES)
    }
