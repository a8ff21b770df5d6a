"""The connection pools, and the one place that opens and commits a transaction."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

import asyncpg

from folkmoot.postgres.database import service_conninfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

    from folkmoot.settings import Settings

Connection: TypeAlias = asyncpg.Connection

#: libpq parameters that asyncpg understands under their own names.
_ASYNCPG_KNOWS = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service", "target_session_attrs",
    "krbsrvname", "gsslib", "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert",
    "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "application_name", "options",
})  # fmt: skip

#: How far the log of the primary goes, as a number of bytes: at least as far as what a statement before saw.
INSERTED = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"

#: How long a request waits for a connection, in seconds, before it is told to come again.
ACQUIRE_SECONDS = 10.0

#: What holds for every session, whatever comes in.
_SESSION = {
    # A prepared statement is planned once. By default PostgreSQL plans it at every execution where it
    # takes the parameters to matter, which costs more than these statements themselves (docs/decisions).
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    # Connections are kept, so that nobody waits for new ones: what lies between must not forget an idle one.
    "tcp_keepalives_idle": "60",
}


class Pool(asyncpg.Pool):  # type: ignore[misc] # asyncpg has no types
    """A pool on which nobody waits for a connection longer than ACQUIRE_SECONDS; then TimeoutError."""

    #: How many wait for one now.
    waiting = 0

    def acquire(self, *, timeout: float | None = None) -> _Acquiring:
        return _Acquiring(self, super().acquire(timeout=timeout))

    async def open_all(self, first: Callable[[Connection], Awaitable[None]]) -> None:
        """Open every connection, and let each do first what would otherwise be waited for.

        A new one costs PostgreSQL a process that reads catalogs and dictionaries, and plans: tens of
        milliseconds, and the more where many come at once. Where the database is away, or has no such schema,
        a connection is opened when it is asked for.
        """
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with AsyncExitStack() as opened:
                for _ in range(self.get_max_size()):
                    await first(await opened.enter_async_context(self.acquire()))


class _Acquiring:
    """As asyncpg's own, to be awaited or entered. Its own timeout makes a task for each request."""

    def __init__(self, pool: Pool, acquiring: Any) -> None:
        self._pool = pool
        self._acquiring = acquiring

    async def __aenter__(self) -> Connection:
        self._pool.waiting += 1
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                return await self._acquiring.__aenter__()
        finally:
            self._pool.waiting -= 1

    async def __aexit__(self, *error: object) -> None:
        await self._acquiring.__aexit__(*error)

    def __await__(self) -> Generator[Any, None, Connection]:
        return self.__aenter__().__await__()


def _dsn(conninfo: dict[str, str]) -> str:
    known = {key: value for key, value in conninfo.items() if key in _ASYNCPG_KNOWS}
    if "hostaddr" in conninfo:
        known["host"] = conninfo["hostaddr"]
    return f"postgresql://?{urlencode(known)}"


def _options(settings: Settings, conninfo: dict[str, str]) -> dict[str, Any]:
    return {
        "timeout": float(conninfo.get("connect_timeout") or 0) or 10.0,
        "statement_cache_size": settings.database_statement_cache_size,
        # PgBouncer in transaction mode takes none of these; there the role has them (docs/settings.md).
        "server_settings": _SESSION if settings.database_statement_cache_size else {},
    }


async def connect(settings: Settings, conninfo: dict[str, str] | None = None) -> Connection:
    """A connection beside the pools: to the database, or to another server."""
    found = conninfo or service_conninfo(settings)
    return await asyncpg.connect(_dsn(found), **_options(settings, found))


async def open_pool(
    settings: Settings,
    conninfo: dict[str, str] | None = None,
    kind: type[Connection] = asyncpg.Connection,
    first: Callable[[Any], Awaitable[None]] | None = None,
) -> Pool:
    """A pool that connects when it is first asked to, so that it opens while the database is away.

    Of the database, or of another server; each connection does `first` before it is used.
    """
    found = conninfo or service_conninfo(settings)
    pool = Pool(
        _dsn(found),
        **_options(settings, found),
        init_size=0,
        min_size=0,
        max_size=settings.database_pool_size,
        init=first,
        reset=_nothing_to_reset,
        max_queries=50_000,
        max_inactive_connection_lifetime=0,
        loop=None,
        connection_class=kind,
        record_class=asyncpg.Record,
    )
    await pool
    return pool


async def _nothing_to_reset(connection: Connection) -> None:
    """Requests change no session state, so a connection goes back without a round trip."""


@asynccontextmanager
async def transaction(pool: Pool | Connection) -> AsyncIterator[Connection]:
    """One transaction: committed at the end of the block, rolled back by an exception."""
    if isinstance(pool, Pool):
        async with pool.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with pool.transaction():
            yield pool
