"""What stands in the way of a migration now, on the server as it is, each with what to do about it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lockstep.plan.reading import Reader, in_bytes
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, qualified
from lockstep.postgres.table_locks import ACCESS_EXCLUSIVE, TableLock, holders
from lockstep.revision.ledger import Ledger
from lockstep.steps import health
from lockstep.steps.pace import Pace
from lockstep.steps.patience import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.plan.operation import TableName
    from lockstep.postgres.table_locks import Holder


class Kind(StrEnum):
    """What is in the way."""

    TRANSACTION = "transaction"
    PREPARED = "prepared transaction"
    SLOT = "replication slot"
    WRAPAROUND = "autovacuum against wraparound"
    INVALID_INDEX = "invalid index"
    HALF_DONE = "half-done revision"
    DISK = "disk"
    NOT_SEEN = "not seen"
    """What this role may not see, or nobody can from here."""


@dataclass(frozen=True)
class Obstacle:
    """One thing that is in the way now."""

    kind: Kind
    says: str
    do: str
    """What to do about it."""
    table: str = ""
    pid: int | None = None

    def __str__(self) -> str:
        return f"{self.says}; {self.do}"


#: A transaction that is older holds up CREATE INDEX CONCURRENTLY, and rows that it may still see; in seconds.
OLD = 60.0

#: How long it is looked, for each of the questions, in seconds.
_TIMEOUT = 10.0


def obstacles(
    connection: Connection,
    tables: Sequence[TableName],
    *,
    version_table: str = "",
    pace: Pace | None = None,
    old: float = OLD,
) -> list[Obstacle]:
    """What is in the way of changing these tables. Locks nothing, writes nothing; for any role.

    ``version_table`` is the qualified name under which the ledger knows Alembic's; without it no half-done
    revision is looked for.
    """
    pace = pace or Pace()
    with Reader(connection, _TIMEOUT, None).reading():
        held = [
            holder
            for table in tables
            for holder in holders(connection, [TableLock(_sql(table), ACCESS_EXCLUSIVE)])
        ]
        found = [
            *_transactions(connection, held, pace, old),
            *_prepared(connection, held),
            *_slots(connection, pace),
            *_wraparound(connection, tables),
            *_invalid_indexes(connection, tables),
            *_half_done(connection, version_table),
            *_disk(connection, tables),
            *_blind(connection),
        ]
    return list(dict.fromkeys(found))


def _sql(table: TableName) -> str:
    return qualified(table.name, table.schema)


def _transactions(connection: Connection, held: list[Holder], pace: Pace, old: float) -> Iterator[Obstacle]:
    """Who holds locks on the tables for longer than a step would wait, and who is old anyway."""
    told = set()
    for holder in held:
        young = holder.age is not None and holder.age < pace.lock_timeout
        if holder.pid is None or holder.prevents_wraparound or young:
            continue
        told.add(holder.pid)
        if holder.age is None:
            who = f"pid {holder.pid} ({holder.user}) on {holder.table}"
            says = f"{who} holds a lock; for how long, this role cannot see"
        else:
            says = f"{describe(holder, holder.age, statements=pace.show_statements)} holds a lock"
        do = _end(holder.pid, holder.state)
        yield Obstacle(Kind.TRANSACTION, says, do, holder.table, holder.pid)
    for pid, user, state, age in catalog.rows(
        connection,
        """
        SELECT pid, usename::text, state, extract(epoch FROM clock_timestamp() - xact_start)::float8
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND backend_type = 'client backend' AND clock_timestamp() - xact_start > %(old)s * interval '1 s'
        ORDER BY xact_start
        """,
        old=old,
    ):
        if pid not in told:
            says = f"pid {pid} ({user}, {state} for {age:.1f} s) has an old transaction"
            wait = "CREATE INDEX CONCURRENTLY waits for it, and VACUUM keeps the rows that it may see"
            yield Obstacle(Kind.TRANSACTION, says, f"{wait}: {_end(pid, state)}", pid=pid)


def _end(pid: int, state: str | None) -> str:
    if state and state.startswith("idle"):
        return f"let its program commit, or end it: SELECT pg_terminate_backend({pid})"
    return f"wait until it is done, or cancel it: SELECT pg_cancel_backend({pid})"


def _prepared(connection: Connection, held: list[Holder]) -> Iterator[Obstacle]:
    for gid, owner, age, virtual in catalog.rows(
        connection,
        """
        SELECT p.gid, p.owner::text, extract(epoch FROM clock_timestamp() - p.prepared)::float8,
               l.virtualtransaction
        FROM pg_prepared_xacts p LEFT JOIN pg_locks l
          ON l.locktype = 'transactionid' AND l.transactionid = p.transaction AND l.pid IS NULL
        WHERE p.database = current_database() ORDER BY p.prepared
        """,
    ):
        tables = [one.table for one in held if one.pid is None and one.transaction == virtual]
        locked = f", and holds locks on {', '.join(sorted(tables))}" if tables else ""
        yield Obstacle(
            Kind.PREPARED,
            f"the prepared transaction {gid} of {owner} is open for {age:.0f} s{locked}",
            f"COMMIT PREPARED {literal(gid)} or ROLLBACK PREPARED {literal(gid)}",
            tables[0] if tables else "",
        )


def _slots(connection: Connection, pace: Pace) -> Iterator[Obstacle]:
    over = {row[0] for row in catalog.rows(connection, health.SLOTS, most=pace.max_slot_retention)}
    for name, active, kept, horizon in catalog.rows(
        connection,
        """
        SELECT slot_name::text, active,
               greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint,
               greatest(age(xmin), age(catalog_xmin))
        FROM pg_replication_slots WHERE NOT pg_is_in_recovery() AND NOT temporary
          AND (restart_lsn IS NOT NULL OR xmin IS NOT NULL OR catalog_xmin IS NOT NULL)
        ORDER BY 1
        """,
    ):
        if active and name not in over:
            continue
        held = f"keeps {in_bytes(kept or 0)} of WAL"
        held += f", and rows of the last {horizon} transactions" if horizon is not None else ""
        who = "its subscriber is behind" if active else "nobody reads it"
        yield Obstacle(
            Kind.SLOT,
            f"the replication slot {name} {held}; {who}, and all that a migration writes is kept for it",
            "let its subscriber catch up" if active else f"SELECT pg_drop_replication_slot({literal(name)})",
        )


def _wraparound(connection: Connection, tables: Sequence[TableName]) -> Iterator[Obstacle]:
    for table in tables:
        for (pid,) in catalog.rows(connection, health.AUTOVACUUM, table=_sql(table), any=False):
            yield Obstacle(
                Kind.WRAPAROUND,
                f"autovacuum (pid {pid}) is at work on {table} against wraparound, and lets nobody through",
                "let it finish; raise autovacuum_vacuum_cost_limit where it is slow",
                str(table),
                pid,
            )


def _invalid_indexes(connection: Connection, tables: Sequence[TableName]) -> Iterator[Obstacle]:
    for table in tables:
        for schema, name, is_built in catalog.rows(
            connection,
            """
            SELECT n.nspname, c.relname, p.pid IS NOT NULL
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_stat_progress_create_index p ON p.index_relid = c.oid
            WHERE i.indrelid = to_regclass(%(table)s) AND NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1, 2
            """,
            table=_sql(table),
        ):
            index = qualified(name, schema)
            says, do = (
                ("is INVALID: a CREATE INDEX CONCURRENTLY did not come to its end",
                 f"DROP INDEX CONCURRENTLY {index}, or REINDEX INDEX CONCURRENTLY {index}")
                if not is_built else ("is being built", "wait until it is done")
            )  # fmt: skip
            yield Obstacle(Kind.INVALID_INDEX, f"the index {name} of {table} {says}", do, str(table))


def _half_done(connection: Connection, version_table: str) -> Iterator[Obstacle]:
    if not version_table:
        return
    readable = catalog.scalar(
        connection,
        """
        SELECT bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'lockstep' AND c.relkind = 'r'
        """,
    )
    if readable is None:
        return
    if not readable:
        yield Obstacle(
            Kind.NOT_SEEN,
            "this role cannot see whether a revision is half done",
            f"GRANT USAGE ON SCHEMA lockstep TO {_me(connection)}, and SELECT on its tables",
        )
        return
    for one in Ledger(version_table).read_all(connection):
        yield Obstacle(
            Kind.HALF_DONE,
            str(one),
            "`alembic upgrade` or `alembic downgrade` goes on with it or takes it back; see: lockstep status",
        )


def _disk(connection: Connection, tables: Sequence[TableName]) -> Iterator[Obstacle]:
    """Less room than a table and its indexes take: a rewrite needs them twice. Known on the server itself.

    Sizes are those that VACUUM or ANALYZE noted last: asking for them anew waits for who holds the table.
    """
    size = catalog.scalar(
        connection,
        """
        SELECT coalesce(max(bytes), 0)::bigint FROM (
            SELECT sum(c.relpages::bigint) * current_setting('block_size')::int AS bytes
            FROM unnest(%(tables)s::text[]) t(name) JOIN pg_class c ON c.oid = to_regclass(t.name)
              OR c.oid = (SELECT reltoastrelid FROM pg_class WHERE oid = to_regclass(t.name))
              OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass(t.name))
            WHERE c.reltablespace = 0 GROUP BY t.name) sizes
        """,
        tables=[_sql(table) for table in tables],
    )
    free = free_bytes(connection)
    if free is not None and free < size:
        yield Obstacle(
            Kind.DISK,
            f"{in_bytes(free)} of disk are free; the largest of the tables takes {in_bytes(size)} with its "
            "indexes, and a rewrite as much again",
            "make room first",
        )


def free_bytes(connection: Connection) -> int | None:
    """What is free where the server's data lie; None where that cannot be known from here."""
    found: Any = catalog.scalar(
        connection,
        "SELECT setting FROM pg_settings WHERE name = 'data_directory' "
        "AND (inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr())",
    )
    with suppress(OSError):
        return shutil.disk_usage(found).free if found else None
    return None


def _blind(connection: Connection) -> Iterator[Obstacle]:
    if not catalog.scalar(connection, "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"):
        yield Obstacle(
            Kind.NOT_SEEN,
            "this role cannot see how old other roles' transactions are, nor what they do",
            f"GRANT pg_read_all_stats TO {_me(connection)}",
        )


def _me(connection: Connection) -> str:
    return str(catalog.scalar(connection, "SELECT quote_ident(current_user)"))
