"""The connection pool, and the one place that opens and commits a transaction."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from urllib.parse import urlencode

import asyncpg
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from folkmoot.postgres.database import service_conninfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from folkmoot.settings import Settings

Connection: TypeAlias = asyncpg.Connection

#: libpq parameters that asyncpg understands under their own names.
_ASYNCPG_KNOWS = frozenset({
    "host", "port", "dbname", "user", "password", "passfile", "service", "target_session_attrs",
    "krbsrvname", "gsslib", "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert",
    "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "application_name", "options",
})  # fmt: skip

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


async def open_pool(settings: Settings) -> Pool:
    """A pool that connects when it is first asked to, so that it opens while the database is away."""
    found = service_conninfo(settings)
    if "hostaddr" in found:
        found["host"] = found["hostaddr"]
    known = {key: value for key, value in found.items() if key in _ASYNCPG_KNOWS}
    pool = Pool(
        f"postgresql://?{urlencode(known)}",
        init_size=0,
        min_size=0,
        max_size=settings.database_pool_size,
        timeout=float(found.get("connect_timeout") or 0) or 10.0,
        statement_cache_size=settings.database_statement_cache_size,
        # PgBouncer in transaction mode takes none of these; there the role has them (docs/settings.md).
        server_settings=_SESSION if settings.database_statement_cache_size else {},
        reset=_nothing_to_reset,
        max_queries=50_000,
        max_inactive_connection_lifetime=0,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
    )
    await pool
    return pool


async def _nothing_to_reset(connection: Connection) -> None:
    """Requests change no session state, so a connection goes back without a round trip."""


@asynccontextmanager
async def transaction(
    pool: Pool,
) -> AsyncIterator[Connection]:
    """One transaction: committed at the end of the block, rolled back by an exception."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def _request_transaction(request: Request) -> AsyncIterator[Connection]:
    async with transaction(request.app.state.pool) as connection:
        yield connection


#: A route's connection, in a transaction that is committed before the response is sent: with FastAPI's
#: default scope a failing commit would come after the status.
Transaction = Annotated[Connection, Depends(_request_transaction, scope="function")]

#: What leaves nothing done and is gone at the second attempt.
_RETRIED = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)


class Route(APIRoute):
    """A route that is run a second time when a schema change made its prepared statements stale.

    PostgreSQL then refuses the statement ("cached plan must not change result type", SQLSTATE 0A000) and
    nothing has been done. asyncpg drops the statements of the whole pool, and a new transaction succeeds. The
    same goes for a deadlock, such as of deleting an account whose posts another deletion takes votes from.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_again(request: Request) -> Response:
            outer = request.scope["fastapi_function_astack"]
            try:
                # A stack of its own, so that the transaction ends here: before the second run, or
                # before the response.
                async with AsyncExitStack() as stack:
                    request.scope["fastapi_function_astack"] = stack
                    return await handle(request)
            except _RETRIED:
                request.scope["fastapi_function_astack"] = outer
                return await handle(request)

        return handle_again
