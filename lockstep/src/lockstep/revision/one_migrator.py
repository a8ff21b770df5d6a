"""One migrator at a time works on a version table."""

from __future__ import annotations

import logging
import random
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.servers import backend_pid, connect_again, database_of
from lockstep.postgres.session import AT_WORK, execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.lockstep")


#: A migrator that vanished without a word (a lost network, a laptop that was closed) loses its session, and
#: with it its lock, within a minute: after three unanswered probes or 30 s of unacknowledged data, looked for
#: while a statement runs as well.
_GIVEN_UP_AFTER = {
    "tcp_keepalives_idle": "15s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
    "client_connection_check_interval": "10s",
}


@contextmanager
def only_migrator(
    connected: Connection, version_table: str, schema: str | None, *, waits: bool = True
) -> Iterator[None]:
    """Hold the advisory lock of this version table; LockstepError where another one has it and it does not
    wait.

    It is polled, holding no snapshot in between: a blocked pg_advisory_lock() and CREATE INDEX CONCURRENTLY
    would wait for each other.
    """
    _refuse_transaction_pooling(connected)
    with _set_at_work(connected):
        lock = _wait_for_lock(connected, version_table, schema, waits=waits)
        try:
            yield
        finally:
            with suppress(DBAPIError):
                if connected.in_transaction():
                    connected.rollback()
                with connected.begin():
                    catalog.scalar(
                        connected, "SELECT pg_advisory_unlock(hashtextextended(%(lock)s, 0))", lock=lock
                    )


def resolved_version_table(connected: Connection, name: str, schema: str | None) -> str:
    """The qualified name of the version table, which tenants have one of in each schema: where none is named,
    the one that the search_path finds, or the one that will be created.
    """
    qualified = f"{catalog.quote(schema)}.{catalog.quote(name)}" if schema else catalog.quote(name)
    home = catalog.scalar(
        connected,
        "SELECT coalesce((SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = to_regclass(%(name)s)), %(schema)s::name, current_schema(), '')",
        name=qualified,
        schema=schema,
    )
    return f"{catalog.quote(str(home))}.{catalog.quote(name)}"


def _wait_for_lock(connected: Connection, version_table: str, schema: str | None, *, waits: bool) -> str:
    """Wait until the version table's lock is held; return its name."""
    lock = ""
    told = False
    while True:
        with connected.begin():
            lock = lock or f"lockstep {resolved_version_table(connected, version_table, schema)}"
            if catalog.scalar(
                connected, "SELECT pg_try_advisory_lock(hashtextextended(%(lock)s, 0))", lock=lock
            ):
                break
            if not waits:
                raise LockstepError("a migrator is at work on this version table: try again when it is done")
            if not told:
                _tell_who_migrates(connected, lock)
                told = True
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311
    if told:
        log.info("the other migrator is done")
    return lock


@contextmanager
def _set_at_work(connected: Connection) -> Iterator[None]:
    """Let the server notice within a minute that this process is gone, and triggers that it is at work; as
    before when the block ends.
    """
    settings = {**_GIVEN_UP_AFTER, AT_WORK: "on"}
    setting = [f"set_config('{name}', '{value}', false)" for name, value in settings.items()]
    try:
        with connected.begin():
            execute(connected, f"SELECT {', '.join(setting)}")
    except DBAPIError:  # not every platform knows each of them
        for one in setting:
            with suppress(DBAPIError), connected.begin():
                execute(connected, f"SELECT {one}")
    try:
        yield
    finally:
        with suppress(DBAPIError), connected.begin():
            resets = " ".join(f"RESET {name};" for name in settings)
            execute(connected, f"DO 'BEGIN {resets} END'")


def _tell_who_migrates(connected: Connection, lock: str) -> None:
    for pid, user, since, client in catalog.rows(
        connected,
        """
        SELECT a.pid, a.usename, extract(epoch FROM clock_timestamp() - a.backend_start)::int,
               coalesce(a.client_addr::text, 'this machine')
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%(lock)s, 0)
        """,
        lock=lock,
    ):
        log.info(
            "another migrator is at work: pid %s (%s, from %s, for %s s); waiting for it",
            pid,
            user,
            client,
            since,
        )


def _refuse_transaction_pooling(connected: Connection) -> None:
    """Raise where a pooler gives this connection another server session for each transaction.

    A pooler shows itself by a made-up backend pid. It pools transactions when a second connection gets the
    server session that the first one used, though the first is still open.
    """
    with connected.begin():
        real = backend_pid(connected)
    driver: Any = connected.connection.dbapi_connection
    announced = driver.info.backend_pid
    if announced == real:
        return
    with connected.begin():
        here = database_of(connected)
    for _ in range(5):
        with connected.begin():
            mine = catalog.scalar(connected, "SELECT pg_backend_pid()")
        with connect_again(connected.engine, here) as other:
            theirs = catalog.scalar(other, "SELECT pg_backend_pid()")
        if theirs == mine or mine != real:
            raise LockstepError(
                "this connection goes through a pooler in transaction mode, which cannot hold the migrator's "
                "lock: give Lockstep a direct connection to PostgreSQL"
            )
