"""What the doctor asks of a database, over any driver: it reads alone, and waits for nobody."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

#: How long a question about rows may wait for a lock, in milliseconds.
_PATIENCE = 500


class Database:
    """The database that env.py connects to."""

    def __init__(self, connection: Connection, context: MigrationContext, heads: tuple[str, ...]) -> None:
        self.connection = connection
        self.context = context
        self.heads = heads

    def begin(self) -> None:
        """Let the transaction write nothing, and wait for no lock for long."""
        self.connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        scope = "LOCAL" if self._in_transaction else "SESSION"
        if not self._in_transaction:
            self.connection.execute(sa.text("SET default_transaction_read_only = on"))
        self.connection.execute(sa.text(f"SET {scope} lock_timeout = {_PATIENCE}"))

    @cached_property
    def _in_transaction(self) -> bool:
        """Whether statements share one: not on an env.py's connection in autocommit mode."""
        return bool(self.connection.execute(sa.text("SHOW transaction_read_only")).scalar() == "on")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A question whose failure leaves the others."""
        with self.connection.begin_nested() if self._in_transaction else nullcontext():
            yield

    def rows(self, statement: str, **values: Any) -> list[Any]:
        return list(self.connection.execute(sa.text(statement), values))

    @cached_property
    def relations(self) -> set[str]:
        """The tables, views and indexes that the search_path finds."""
        return {
            row.relname for row in self.rows("SELECT relname FROM pg_class WHERE pg_table_is_visible(oid)")
        }

    @cached_property
    def columns(self) -> dict[tuple[str, str], Any]:
        """(table, column): whether it is NOT NULL, and whether it has a default."""
        found = self.rows(
            "SELECT relname, attname, attnotnull, atthasdef OR attidentity <> '' AS filled "
            "FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relkind IN ('r', 'p') "
            "AND attnum > 0 AND NOT attisdropped AND pg_table_is_visible(c.oid) "
            "AND relnamespace <> 'pg_catalog'::regnamespace"
        )
        return {(row.relname, row.attname): row for row in found}

    @cached_property
    def types(self) -> dict[str, bool]:
        """The enums and domains, and whether a column has such a type."""
        found = self.rows(
            "SELECT typname, EXISTS (SELECT FROM pg_attribute a WHERE atttypid IN (t.oid, t.typarray) "
            "AND NOT attisdropped) AS used FROM pg_type t "
            "WHERE typtype IN ('e', 'd') AND pg_type_is_visible(t.oid)"
        )
        return {row.typname: row.used for row in found}

    def has_rows(self, table: str) -> bool:
        return bool(self._ask(f"SELECT EXISTS (SELECT FROM {_quoted(table)})"))

    def nulls(self, table: str, column: str) -> int:
        return int(self._ask(f"SELECT count(*) FROM {_quoted(table)} WHERE {_quoted(column)} IS NULL") or 0)

    def _ask(self, question: str) -> Any:
        return self.connection.execute(sa.text(question)).scalar()

    def has_source(self, revision: str) -> bool:
        """Whether Lockstep has kept the file of a revision that it applied."""
        readable = "has_table_privilege(to_regclass('lockstep.applied'), 'SELECT')"
        if not self.rows(f"SELECT WHERE to_regclass('lockstep.applied') IS NOT NULL AND {readable}"):
            return False
        found = "SELECT FROM lockstep.applied WHERE revision = :name AND source IS NOT NULL LIMIT 1"
        return bool(self.rows(found, name=revision))

    def waiting(self) -> list[Any]:
        """Who waits for a lock of whom."""
        return self.rows(
            """
            SELECT w.pid AS waiter, w.query AS waits_with, b.pid, b.state, b.query, b.application_name,
                b.usename, extract(epoch FROM now() - coalesce(b.xact_start, b.backend_start))::bigint AS age,
                (SELECT min(relation::regclass::text) FROM pg_locks l
                 WHERE l.pid = w.pid AND NOT granted AND relation IS NOT NULL
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS relation
            FROM pg_stat_activity w, LATERAL unnest(pg_blocking_pids(w.pid)) AS blocks(pid)
            JOIN pg_stat_activity b ON b.pid = blocks.pid
            WHERE w.datname = current_database()
              AND (b.wait_event_type IS DISTINCT FROM 'Lock' OR cardinality(pg_blocking_pids(b.pid)) = 0)
            ORDER BY age DESC, w.pid
            """
        )


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""').replace(":", r"\:")
    return f'"{escaped}"'
