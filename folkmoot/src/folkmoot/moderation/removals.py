"""A post is removed, with a reason that its author reads, and can be restored.

Until then it is a draft for everybody but its author (see the revision `moderate`), who may go on editing it,
and delete it, and cannot publish it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.http.routes import Route
from folkmoot.moderation import log
from folkmoot.moderation.log import Action, Why
from folkmoot.people import administrators
from folkmoot.people.caller import Caller, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.posts.posts import missing

if TYPE_CHECKING:
    import asyncpg

#: What an administrator sees of a post: not a draft, unless it is one because it is withheld.
_POST = """
    SELECT p.id::bigint, p.title, p.content, p.owner_id::bigint, u.display_name, p.created_at, p.published,
           w.removed_at, w.reason, u.blocked_at
      FROM posts AS p JOIN users AS u ON u.id = p.owner_id LEFT JOIN withheld AS w ON w.post_id = p.id
     WHERE p.id = $1::bigint AND (p.published OR w.published)
"""
_WITHHOLD = """
    INSERT INTO withheld AS w (post_id, published, removed_at, reason) VALUES ($1::bigint, $2, now(), $3)
    ON CONFLICT (post_id) DO UPDATE SET removed_at = excluded.removed_at, reason = excluded.reason
"""
_HIDE = "UPDATE posts SET published = FALSE WHERE id = $1::bigint AND published"
_SETTLE = "UPDATE reports SET settled_at = now() WHERE post_id = $1::bigint AND settled_at IS NULL"
_STILL_BLOCKED = "UPDATE withheld SET removed_at = NULL, reason = NULL WHERE post_id = $1::bigint"
_LET_GO = "DELETE FROM withheld WHERE post_id = $1::bigint RETURNING published"
_SHOW = "UPDATE posts SET published = TRUE WHERE id = $1::bigint"


async def seen(caller: Caller, post_id: int, *, locked: bool = False) -> asyncpg.Record:
    """A post as an administrator sees it, removed or not; raises NotFound."""
    row = await caller.connection.fetchrow(_POST + (" FOR UPDATE OF p" if locked else ""), post_id)
    if row is None:
        raise missing()
    return row


async def settle(caller: Caller, post_id: int) -> None:
    """Note that what was reported about a post was looked at."""
    await caller.connection.execute(_SETTLE, post_id)


async def remove(request: Request, caller: Caller, post_id: int, reason: str) -> None:
    """Remove a post, or give another reason for it; raises NotFound."""
    post = await seen(caller, post_id, locked=True)
    await caller.connection.execute(_WITHHOLD, post_id, post["published"], reason)
    await caller.connection.execute(_HIDE, post_id)
    await settle(caller, post_id)
    await log.add(request, caller, Action.remove_post, reason, person_id=post["owner_id"], post_id=post_id)


async def restore(request: Request, caller: Caller, post_id: int, reason: str | None) -> None:
    """Restore a post that was removed; raises NotFound where it was not."""
    post = await seen(caller, post_id, locked=True)
    if post["removed_at"] is None:
        raise NotFound("The post is not removed.")
    if post["blocked_at"] is not None:
        await caller.connection.execute(_STILL_BLOCKED, post_id)
    elif await caller.connection.fetchval(_LET_GO, post_id):
        await caller.connection.execute(_SHOW, post_id)
    await log.add(request, caller, Action.restore_post, reason, person_id=post["owner_id"], post_id=post_id)


router = APIRouter(tags=["moderation"], route_class=Route)


@router.put(
    "/posts/{post_id}/removal",
    status_code=204,
    response_class=Response,
    responses=answers(Forbidden, NotFound),
)
async def remove_post(request: Request, post_id: Id, why: Why, bearer: MemberBearer) -> Response:
    """Remove a post; for administrators. Its author sees the reason, others that it was removed."""
    async with administrators.acting(bearer) as caller:
        await remove(request, caller, post_id, why.reason)
    return Response(status_code=204)


@router.delete(
    "/posts/{post_id}/removal",
    status_code=204,
    response_class=Response,
    responses=answers(Forbidden, NotFound),
)
async def restore_post(
    request: Request, post_id: Id, bearer: MemberBearer, why: Why | None = None
) -> Response:
    """Restore a post, with what its author changed since; for administrators."""
    async with administrators.acting(bearer) as caller:
        await restore(request, caller, post_id, why.reason if why else None)
    return Response(status_code=204)
