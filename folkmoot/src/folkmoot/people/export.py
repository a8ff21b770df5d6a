"""All that the service keeps about a person, for that person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from folkmoot.http.openapi import answers
from folkmoot.http.problems import TooManyRequests
from folkmoot.http.routes import Route
from folkmoot.people.accounts import MINE, Account
from folkmoot.people.caller import MemberBearer, session_ended
from folkmoot.people.limits import EXPORTS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    import asyncpg

    from folkmoot.postgres.pool import Pool


class ExportedPost(BaseModel):
    id: int
    title: str
    content: str
    published: bool
    created_at: datetime


class ExportedVote(BaseModel):
    post_id: int


class ExportedComment(BaseModel):
    id: int
    post_id: int
    parent_id: int | None
    content: str
    created_at: datetime


class ExportedCommentVote(BaseModel):
    post_id: int
    comment_id: int


class ExportedReport(BaseModel):
    id: int
    post_id: int
    comment_id: int | None
    reason: str
    created_at: datetime


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
    comments: list[ExportedComment]
    comment_votes: list[ExportedCommentVote]
    reports: list[ExportedReport]


@dataclass(frozen=True)
class _Part:
    """What is exported of one table, page by page: $1 whose, $2 … the key after which a page begins."""

    key: tuple[str, ...]
    query: str


_PARTS = {
    "sessions": _Part(("id",), """
        SELECT id, created_at, last_used_at, expires_at, client, user_agent
          FROM sessions WHERE user_id = $1::bigint AND id > $2::bigint ORDER BY id LIMIT 100
    """),
    # A post may have 40,000 characters.
    "posts": _Part(("id",), """
        SELECT id::bigint, title, content, published, created_at
          FROM posts WHERE owner_id = $1::bigint AND id > $2::bigint ORDER BY id LIMIT 10
    """),
    "votes": _Part(("post_id",), """
        SELECT post_id::bigint FROM votes WHERE user_id = $1::bigint AND post_id > $2::bigint
         ORDER BY post_id LIMIT 1000
    """),
    "comments": _Part(("id",), """
        (SELECT id, post_id, parent_id, content, created_at
           FROM comments WHERE owner_id = $1::bigint AND id > $2::bigint ORDER BY id LIMIT 40)
        UNION ALL
        (SELECT c.id, c.post_id, c.parent_id, w.content, c.created_at
           FROM withheld_comments AS w JOIN comments AS c ON c.post_id = w.post_id AND c.id = w.comment_id
          WHERE w.owner_id = $1::bigint AND w.comment_id > $2::bigint ORDER BY w.comment_id LIMIT 40)
         ORDER BY id LIMIT 40
    """),
    "comment_votes": _Part(("post_id", "comment_id"), """
        SELECT post_id, comment_id FROM comment_votes
         WHERE user_id = $1::bigint AND (post_id, comment_id) > ($2::bigint, $3::bigint)
         ORDER BY post_id, comment_id LIMIT 1000
    """),
    "reports": _Part(("id",), """
        (SELECT id, post_id::bigint, NULL::bigint AS comment_id, reason, created_at
           FROM reports WHERE user_id = $1::bigint AND id > $2::bigint ORDER BY id LIMIT 100)
        UNION ALL
        (SELECT report_id, post_id, comment_id, reason, created_at
           FROM comment_reports
          WHERE user_id = $1::bigint AND report_id > $2::bigint ORDER BY report_id LIMIT 100)
         ORDER BY id LIMIT 100
    """),
}  # fmt: skip

router = APIRouter(tags=["accounts"], route_class=Route)


@router.get("/users/me/export", response_model=Export, responses=answers(TooManyRequests))
async def export_account(request: Request, bearer: MemberBearer) -> Response:
    """Export all that the service keeps about oneself."""
    pool: Pool = request.app.state.pool
    await bearer.count(request, EXPORTS)
    async with bearer.transaction() as caller:
        account = await caller.connection.fetchrow(MINE, caller.user_id)
    if account is None:
        raise session_ended()
    headers = {"Content-Disposition": 'attachment; filename="folkmoot.json"', "Cache-Control": "no-store"}
    return StreamingResponse(
        _export(pool, request.app.state.export_turn, account), 200, headers, "application/json"
    )


async def _export(pool: Pool, turn: asyncio.Lock, account: asyncpg.Record) -> AsyncIterator[bytes]:
    """Write the export as it is read. No connection is held while the client takes in what was read, and so
    no snapshot: what is written meanwhile may be in it or not.

    A worker reads one page at a time for all exports, so that many of them leave the others its processor and
    the connections of its pool.
    """
    yield b'{"account":' + msgspec.json.encode(dict(account))
    for name, part in _PARTS.items():
        yield f',"{name}":['.encode()
        after, separator = [0] * len(part.key), b""
        while True:
            async with turn:
                rows = await pool.fetch(part.query, account["id"], *after)
                page = separator + b",".join(msgspec.json.encode(dict(row)) for row in rows)
            if not rows:
                break
            after, separator = [rows[-1][name] for name in part.key], b","
            del rows  # one copy is enough to keep while the client reads
            yield page
        yield b"]"
    yield b"}"
