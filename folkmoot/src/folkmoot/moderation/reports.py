"""Reports: what people say is wrong with a post, one a person and post, and the queue of administrators."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Id, Limit  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.http.routes import Route
from folkmoot.moderation import log, removals
from folkmoot.moderation.log import Action, Why
from folkmoot.people import administrators, events
from folkmoot.people.caller import SESSION, Bearer, Caller, MemberBearer
from folkmoot.postgres.statement import Statement
from folkmoot.posts.posts import VISIBLE, missing

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.http.cursors import Cursors


class Report(BaseModel):
    """An open report."""

    id: int
    created_at: datetime
    reason: str
    user_id: int = Field(description="Who reports it.")
    post_id: int
    title: str = Field(description="The post's.")
    owner_id: int = Field(description="The post's.")


class ReportPage(BaseModel):
    items: list[Report]
    next_cursor: str | None


_REPORT = Statement(f"""
    WITH s AS ({SESSION}),
    target AS (SELECT p.id FROM posts AS p CROSS JOIN s
                WHERE p.id = CAST(:post AS bigint) AND p.published AND {VISIBLE}),
    made AS (INSERT INTO reports (user_id, post_id, reason) SELECT CAST(:person AS bigint), id, :reason FROM target
             ON CONFLICT (post_id, user_id) DO NOTHING)
    SELECT noted, EXISTS (SELECT FROM target) AS seen FROM s
""")  # noqa: E501 - the columns stand beside their values
_OPEN = """
    SELECT r.id, r.created_at, r.reason, r.user_id::bigint, r.post_id::bigint, p.title, p.owner_id::bigint
      FROM reports AS r JOIN posts AS p ON p.id = r.post_id
     WHERE r.settled_at IS NULL AND r.id > $1::bigint ORDER BY r.id LIMIT $2
"""


async def report(request: Request, bearer: Bearer, post_id: int, reason: str) -> None:
    """Report a post; once more changes nothing. Raises NotFound where it is not to be seen, or a draft."""
    (row,) = await bearer.ask(_REPORT, post=post_id, reason=reason)
    if not row["seen"]:
        raise missing()
    events.note("reported", request, post=post_id)


async def queue(caller: Caller, after: int, count: int) -> list[asyncpg.Record]:
    """At most ``count`` open reports that are younger than one, the oldest first."""
    rows: list[asyncpg.Record] = await caller.connection.fetch(_OPEN, after, count)
    return rows


async def keep(request: Request, caller: Caller, post_id: int, reason: str | None) -> None:
    """Settle what was reported about a post, and leave it as it is; raises NotFound."""
    post = await removals.seen(caller, post_id)
    await removals.settle(caller, post_id)
    await log.add(request, caller, Action.keep_post, reason, person_id=post["owner_id"], post_id=post_id)


router = APIRouter(tags=["moderation"], route_class=Route)


@router.put("/posts/{post_id}/report", status_code=204, response_class=Response, responses=answers(NotFound))
async def report_post(request: Request, post_id: Id, why: Why, bearer: MemberBearer) -> Response:
    """Report a post to the administrators; once more changes nothing."""
    await report(request, bearer, post_id, why.reason)
    return Response(status_code=204)


@router.get("/reports", response_model=ReportPage, responses=answers(Forbidden))
async def list_reports(
    request: Request, bearer: MemberBearer, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """Read what people reported and nobody has looked at, the oldest first; for administrators."""
    cursors: Cursors = request.app.state.cursors
    async with administrators.acting(bearer) as caller:
        rows = await queue(caller, cursors.read("reports", cursor) if cursor else 0, limit + 1)
    more = cursors.write("reports", rows[limit - 1]["id"]) if len(rows) > limit else None
    found = {"items": [dict(row) for row in rows[:limit]], "next_cursor": more}
    return Response(msgspec.json.encode(found), media_type="application/json")


@router.delete(
    "/posts/{post_id}/reports",
    status_code=204,
    response_class=Response,
    responses=answers(Forbidden, NotFound),
)
async def settle_reports(
    request: Request, post_id: Id, bearer: MemberBearer, why: Why | None = None
) -> Response:
    """Settle what was reported about a post, and leave it as it is; for administrators."""
    async with administrators.acting(bearer) as caller:
        await keep(request, caller, post_id, why.reason if why else None)
    return Response(status_code=204)
