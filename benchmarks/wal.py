"""The write-ahead log of a server that has been in use for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg


def write_once(connection: psycopg.Connection) -> None:
    """Write ``min_wal_size`` of WAL, so that its segments are used again from here on.

    A new server makes each segment when it is first needed, and who commits meanwhile waits until the disk
    has it (PostgreSQL manual, WAL Configuration). One in use for a while has them.
    """
    connection.execute(
        "SELECT pg_logical_emit_message(false, '', repeat('w', 1 << 20)) "
        "FROM generate_series(1, pg_size_bytes(current_setting('min_wal_size')) >> 20)"
    )
    connection.execute("CHECKPOINT")
