"""What is measured: Folkmoot with routes that log in and do nothing else, or make a page of rows that were
read before; and its naive twin.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from fastapi import FastAPI, Request, Response

from folkmoot import app as folkmoot
from folkmoot.pages import discussion, front
from folkmoot.pages.visitor import Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.caller import MemberBearer  # noqa: TC001 (FastAPI reads the annotations)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.postgres.statement import Statement


async def noop(caller: MemberBearer) -> Response:
    """The least that an authenticated route does: check the token, look the session up, answer."""
    await caller.check()
    return Response(b"{}", media_type="application/json")


class Remembering:
    """Somebody who asks the database for each thing once: what a page costs then is its HTML."""

    def __init__(self, reader: Bearer | Anonymous, rows: dict[str, list[asyncpg.Record]]) -> None:
        self.known, self._reader, self._rows = reader.known, reader, rows

    async def ask(
        self, statement: Statement, *, milliseconds: int | None = None, **values: Any
    ) -> list[asyncpg.Record]:
        key = f"{statement.sql} {values}"
        if key not in self._rows:
            self._rows[key] = await self._reader.ask(statement, milliseconds=milliseconds, **values)
        return self._rows[key]


def measured() -> FastAPI:
    app = folkmoot.create_app()
    app.add_api_route("/noop", noop)
    rows: dict[str, list[asyncpg.Record]] = {}

    async def remembering(reader: Bearer | Anonymous) -> Any:
        if reader.known:  # as `noop`
            await reader.check()
        return Remembering(reader, rows)

    async def rendered_front(request: Request, reader: Reader) -> Response:
        return await front.front(request, await remembering(reader))

    async def rendered_post(request: Request, reader: Reader, post_id: int) -> Response:
        return await discussion.show_post(request, await remembering(reader), post_id)

    # Not "/noop/", which is the same as "/noop".
    app.add_api_route("/noop/front", rendered_front)
    app.add_api_route("/noop/p/{post_id}", rendered_post)
    return app


# The first page as one would first write it: every post joined with every vote, counted, then cut.
NAIVE = """
    SELECT p.id, p.title, p.content, p.published, p.created_at, p.owner_id, u.id, u.created_at,
           count(v.post_id) AS votes
      FROM posts AS p LEFT JOIN votes AS v ON v.post_id = p.id JOIN users AS u ON u.id = p.owner_id
     WHERE p.published GROUP BY p.id, u.id ORDER BY p.id DESC LIMIT $1 OFFSET $2
"""


def twin() -> FastAPI:
    """JOIN, COUNT and OFFSET on the schema of c47ecbf163d4; same server, driver and encoder."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(os.environ["TWIN_URL"], min_size=0, max_size=10) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/posts")
    async def posts(request: Request, limit: int = 10, skip: int = 0) -> Response:
        try:
            rows: list[Any] = await request.app.state.pool.fetch(NAIVE, limit, skip)
        except asyncpg.QueryCanceledError:  # the server is being stopped
            return Response(status_code=503)
        body = msgspec.json.encode([dict(row.items()) for row in rows])
        return Response(body, media_type="application/json")

    return app
