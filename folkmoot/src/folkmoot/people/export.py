"""All that the service keeps about a person, for that person."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from folkmoot.http.openapi import answers
from folkmoot.http.problems import TooManyRequests
from folkmoot.people.accounts import MINE, Account
from folkmoot.people.caller import MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.limits import EXPORTS
from folkmoot.postgres.pool import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from folkmoot.postgres.pool import Pool


class ExportedPost(BaseModel):
    id: int
    title: str
    content: str
    published: bool
    created_at: datetime


class ExportedVote(BaseModel):
    post_id: int


class ExportedSession(BaseModel):
    id: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    client: str | None
    user_agent: str | None


class Export(BaseModel):
    """All that the service keeps about a person, but the hashes of secrets."""

    account: Account
    sessions: list[ExportedSession]
    posts: list[ExportedPost]
    votes: list[ExportedVote]


_EXPORTED = {
    "sessions": """
        SELECT id, created_at, last_used_at, expires_at, client, user_agent
          FROM sessions WHERE user_id = $1::bigint ORDER BY id
    """,
    "posts": """
        SELECT id::bigint, title, content, published, created_at
          FROM posts WHERE owner_id = $1::bigint ORDER BY id
    """,
    "votes": "SELECT post_id::bigint FROM votes WHERE user_id = $1::bigint ORDER BY post_id",
}

router = APIRouter(tags=["accounts"], route_class=Route)


@router.get("/users/me/export", response_model=Export, responses=answers(TooManyRequests))
async def export_account(request: Request, bearer: MemberBearer) -> Response:
    """Export all that the service keeps about oneself."""
    pool: Pool = request.app.state.pool
    await bearer.count(request, EXPORTS)
    async with bearer.transaction() as caller:
        user_id = caller.user_id
    headers = {"Content-Disposition": 'attachment; filename="folkmoot.json"', "Cache-Control": "no-store"}
    return StreamingResponse(_export(pool, user_id), 200, headers, "application/json")


async def _export(pool: Pool, user_id: int) -> AsyncIterator[bytes]:
    """Write the export as it is read, in one snapshot: it may be long."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = await connection.fetchrow(MINE, user_id)
        yield b'{"account":' + msgspec.json.encode(dict(row) if row else None)
        for name, query in _EXPORTED.items():
            yield f',"{name}":['.encode()
            separator = b""
            async for record in connection.cursor(query, user_id, prefetch=100):
                yield separator + msgspec.json.encode(dict(record))
                separator = b","
            yield b"]"
        yield b"}"
