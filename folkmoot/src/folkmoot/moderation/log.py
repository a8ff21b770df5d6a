"""The moderation log: who did what, when and why. It stays when people and posts go."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, SEEN, Body, Limit
from folkmoot.http.problems import Forbidden
from folkmoot.http.routes import Route
from folkmoot.people import administrators, events
from folkmoot.people.caller import Caller, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.http.cursors import Cursors

#: Why something is done, as the person whom it concerns reads it.
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        pattern=SEEN,
        description="With something to be seen.",
        examples=["It is an advertisement."],
    ),
]


class Why(Body):
    reason: Reason


class Action(StrEnum):
    remove_post = "remove-post"
    restore_post = "restore-post"
    keep_post = "keep-post"
    remove_comment = "remove-comment"
    restore_comment = "restore-comment"
    keep_comment = "keep-comment"
    block = "block"
    unblock = "unblock"
    grant = "grant-admin"
    revoke = "revoke-admin"


class Entry(BaseModel):
    id: int
    at: datetime
    administrator_id: int | None = Field(description="Null: by a command of the host's.")
    administrator: str | None = Field(description="Their name, as long as they have an account and a name.")
    action: Action
    person_id: int | None = Field(description="Whom it was done to, or who wrote it.")
    post_id: int | None
    comment_id: int | None = Field(description="The comment on the post, where it is about one.")
    reason: str | None


class LogPage(BaseModel):
    items: list[Entry]
    next_cursor: str | None


_ADD = """
    INSERT INTO moderation_log (administrator_id, action, person_id, post_id, comment_id, reason)
    VALUES ($1::bigint, $2, $3::bigint, $4::bigint, $5::bigint, $6)
"""
_PAGE = """
    SELECT l.id, l.at, l.administrator_id, u.display_name AS administrator, l.action, l.person_id, l.post_id,
           l.comment_id, l.reason
      FROM moderation_log AS l LEFT JOIN users AS u ON u.id = l.administrator_id
     WHERE l.id < $1::bigint ORDER BY l.id DESC LIMIT $2
"""


async def add(
    request: Request,
    caller: Caller,
    action: Action,
    reason: str | None,
    *,
    person_id: int | None = None,
    post_id: int | None = None,
    comment_id: int | None = None,
) -> None:
    """Write down what an administrator does, in the transaction that does it."""
    values = caller.user_id, action.value, person_id, post_id, comment_id, reason
    await caller.connection.execute(_ADD, *values)
    who = {"account_id": caller.user_id, "session_id": caller.session_id}
    what = {"person": person_id or 0, "post": post_id or 0, "comment": comment_id or 0}
    events.note("moderated", request, **who, action=action.value, **what)


async def page(caller: Caller, before: int, count: int) -> list[asyncpg.Record]:
    """At most ``count`` entries that are older than one, the newest first."""
    rows: list[asyncpg.Record] = await caller.connection.fetch(_PAGE, before, count)
    return rows


router = APIRouter(tags=["moderation"], route_class=Route)


@router.get("/moderation-log", response_model=LogPage, responses=answers(Forbidden))
async def read_log(
    request: Request, bearer: MemberBearer, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """Read what administrators did, the latest first; for administrators."""
    cursors: Cursors = request.app.state.cursors
    async with administrators.acting(bearer) as caller:
        before = cursors.read("moderation log", cursor) if cursor else MAX_ID
        rows = await page(caller, before, limit + 1)
    more = cursors.write("moderation log", rows[limit - 1]["id"]) if len(rows) > limit else None
    found = {"items": [dict(row) for row in rows[:limit]], "next_cursor": more}
    return Response(msgspec.json.encode(found), media_type="application/json")
