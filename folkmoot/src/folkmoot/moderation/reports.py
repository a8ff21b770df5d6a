"""Reports: what people say is wrong with a post or a comment, one a person and thing, and the queue of
administrators.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Id, Limit  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.http.routes import Route
from folkmoot.moderation import log, removals, withholding
from folkmoot.moderation.log import Why  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.moderation.withholding import COMMENTS
from folkmoot.people import administrators, events
from folkmoot.people.caller import SESSION, Bearer, Caller, MemberBearer
from folkmoot.postgres.statement import Statement
from folkmoot.posts.comment_queries import LIVING

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.moderation.withholding import Target


class Report(BaseModel):
    """An open report."""

    id: int
    created_at: datetime
    reason: str
    user_id: int = Field(description="Who reports it.")
    post_id: int
    comment_id: int | None = Field(description="The comment on the post; null: the post itself.")
    title: str = Field(description="The post's.")
    owner_id: int = Field(description="Who wrote the comment, or else the post.")


class ReportPage(BaseModel):
    items: list[Report]
    next_cursor: str | None


def _reporting(table: str, key: str, target: str) -> Statement:
    """One statement, and so one transaction: the session, the post or comment of a post `p` that everybody
    sees, and the report, in a table with the columns of `key`.
    """
    return Statement(f"""
        WITH s AS ({SESSION}),
        target AS ({target} CROSS JOIN s WHERE p.id = CAST(:post AS bigint) AND p.published),
        made AS (INSERT INTO {table} (user_id, {key}, reason)
                 SELECT CAST(:person AS bigint), {key}, :reason FROM target ON CONFLICT DO NOTHING)
        SELECT noted, EXISTS (SELECT FROM target) AS seen FROM s
    """)


_REPORT_POST = _reporting("reports", "post_id", "SELECT p.id AS post_id FROM posts AS p")
_REPORT_COMMENT = _reporting(
    "comment_reports",
    "post_id, comment_id",
    f"SELECT p.id AS post_id, c.id AS comment_id FROM posts AS p JOIN comments AS c ON {LIVING}",
)
_OPEN = """
    SELECT * FROM (
        SELECT r.id, r.created_at, r.reason, r.user_id::bigint, r.post_id::bigint, NULL::bigint AS comment_id,
               p.title, p.owner_id::bigint
          FROM reports AS r JOIN posts AS p ON p.id = r.post_id
         WHERE r.settled_at IS NULL AND r.id > $1::bigint ORDER BY r.id LIMIT $2) AS r
    UNION ALL
    SELECT * FROM (
        SELECT r.report_id, r.created_at, r.reason, r.user_id, r.post_id, r.comment_id, p.title,
               coalesce(c.owner_id, w.owner_id)
          FROM comment_reports AS r JOIN posts AS p ON p.id = r.post_id
          JOIN comments AS c ON c.post_id = r.post_id AND c.id = r.comment_id
          LEFT JOIN withheld_comments AS w ON w.post_id = r.post_id AND w.comment_id = r.comment_id
         WHERE r.settled_at IS NULL AND r.report_id > $1::bigint
           AND coalesce(c.owner_id, w.owner_id) IS NOT NULL
         ORDER BY r.report_id LIMIT $2) AS r
     ORDER BY id LIMIT $2
"""


async def report(request: Request, bearer: Bearer, target: Target, reason: str) -> None:
    """Report a post or a comment; once more changes nothing. Raises NotFound where not everybody sees it."""
    statement = _REPORT_COMMENT if target.kind is COMMENTS else _REPORT_POST
    key = dict(zip(("post", "comment"), target.key, strict=False))
    try:
        (row,) = await bearer.ask(statement, **key, reason=reason)
    except asyncpg.ForeignKeyViolationError:  # it was deleted meanwhile, or the account
        await bearer.check()
        raise target.kind.missing() from None
    if not row["seen"]:
        raise target.kind.missing()
    events.note("reported", request, **key)


async def queue(caller: Caller, after: int, count: int) -> list[asyncpg.Record]:
    """At most ``count`` open reports that are younger than one, the oldest first."""
    rows: list[asyncpg.Record] = await caller.connection.fetch(_OPEN, after, count)
    return rows


async def keep(request: Request, caller: Caller, target: Target, reason: str | None) -> None:
    """Settle what was reported, and leave it as it is; raises NotFound."""
    row = await removals.seen(caller, target)
    await removals.settle(caller, target)
    await log.add(request, caller, target.kind.keep, reason, person_id=row["owner_id"], **target.logged)


router = APIRouter(tags=["moderation"], route_class=Route)
_COMMENT = "/posts/{post_id}/comments/{comment_id}"


@router.put("/posts/{post_id}/report", status_code=204, response_class=Response, responses=answers(NotFound))
async def report_post(request: Request, post_id: Id, why: Why, bearer: MemberBearer) -> Response:
    """Report a post to the administrators; once more changes nothing."""
    await report(request, bearer, withholding.post(post_id), why.reason)
    return Response(status_code=204)


@router.put(f"{_COMMENT}/report", status_code=204, response_class=Response, responses=answers(NotFound))
async def report_comment(
    request: Request, post_id: Id, comment_id: Id, why: Why, bearer: MemberBearer
) -> Response:
    """Report a comment to the administrators; once more changes nothing."""
    await report(request, bearer, withholding.comment(post_id, comment_id), why.reason)
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
        await keep(request, caller, withholding.post(post_id), why.reason if why else None)
    return Response(status_code=204)


@router.delete(
    f"{_COMMENT}/reports",
    status_code=204,
    response_class=Response,
    responses=answers(Forbidden, NotFound),
)
async def settle_comment_reports(
    request: Request, post_id: Id, comment_id: Id, bearer: MemberBearer, why: Why | None = None
) -> Response:
    """Settle what was reported about a comment, and leave it as it is; for administrators."""
    async with administrators.acting(bearer) as caller:
        target = withholding.comment(post_id, comment_id)
        await keep(request, caller, target, why.reason if why else None)
    return Response(status_code=204)
