"""What a request has of the database: its transaction, and a second run where the first left nothing done."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from folkmoot.postgres import reading
from folkmoot.postgres.pool import Connection, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


async def _request_transaction(request: Request) -> AsyncIterator[Connection]:
    reading.from_primary(request)
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

        async def handle_noted(request: Request) -> Response:
            read = reading.begin(request)
            if read is None:
                return await handle_again(request)
            try:
                return await handle_again(request)
            finally:  # an error, too, tells something
                if request.method not in reading.SAFE or read.primary:
                    await read.note()

        async def handle_again(request: Request) -> Response:
            try:
                return await handle_once(request)
            except _RETRIED:
                return await handle_once(request)

        async def handle_once(request: Request) -> Response:
            # A stack of its own, so that the transaction ends here: before a second run, or before what
            # was seen is noted and the response is sent.
            async with AsyncExitStack() as stack:
                request.scope["fastapi_function_astack"] = stack
                return await handle(request)

        return handle_noted
