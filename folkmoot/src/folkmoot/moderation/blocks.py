"""An account is blocked: its sessions end, no other begins, and nobody sees what it wrote, until it is not.

The sessions end in one transaction; posts and comments follow in short ones, as somebody may have thousands.
Who is blocked twice, or unblocked twice, has what the first time did not come to done.
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
from folkmoot.moderation.withholding import COMMENTS, POSTS, let_go, withhold
from folkmoot.people import administrators, sessions
from folkmoot.people.caller import Bearer, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.moderation.withholding import Kind
    from folkmoot.people.caller import Caller
    from folkmoot.postgres.pool import Pool

#: How many posts or comments are withheld, or let go, in one transaction.
_BATCH = 200

# Whoever writes holds a key share lock on their account until the commit: this comes before or after it.
_LOCK = """
    SELECT id::bigint, display_name, administrator, blocked_at FROM users WHERE id = $1::bigint FOR UPDATE
"""
_BLOCK = """
    UPDATE users SET blocked_at = coalesce(blocked_at, now()), blocked_reason = $2 WHERE id = $1::bigint
"""
_UNBLOCK = "UPDATE users SET blocked_at = NULL, blocked_reason = NULL WHERE id = $1::bigint"
_BLOCKED = "SELECT blocked_at IS NOT NULL FROM users WHERE id = $1::bigint FOR KEY SHARE"


async def block(request: Request, bearer: Bearer, person_id: int, reason: str) -> None:
    """Block an account; raises NotFound, and Forbidden for an administrator's."""
    async with administrators.acting(bearer) as caller:
        if (await _locked(caller, person_id))["administrator"]:
            raise Forbidden("An administrator is not blocked. Revoke that first.")
        await caller.connection.execute(_BLOCK, person_id, reason)
        await sessions.end_all(request, caller.connection, person_id, "blocked")
        await log.add(request, caller, Action.block, reason, person_id=person_id)
    await _follow(request.app.state.pool, person_id, blocked=True)


async def unblock(request: Request, bearer: Bearer, person_id: int, reason: str | None) -> None:
    """Unblock an account; raises NotFound."""
    async with administrators.acting(bearer) as caller:
        await _locked(caller, person_id)
        await caller.connection.execute(_UNBLOCK, person_id)
        await log.add(request, caller, Action.unblock, reason, person_id=person_id)
    await _follow(request.app.state.pool, person_id, blocked=False)


async def _locked(caller: Caller, person_id: int) -> asyncpg.Record:
    row = await caller.connection.fetchrow(_LOCK, person_id)
    if row is None:
        raise NotFound("There is no such person.")
    return row


async def _follow(pool: Pool, person_id: int, *, blocked: bool) -> None:
    """Withhold what somebody wrote, or let it go."""
    for kind in (POSTS, COMMENTS):
        while await _batch(pool, person_id, kind, blocked=blocked):
            pass


async def _batch(pool: Pool, person_id: int, kind: Kind, *, blocked: bool) -> bool:
    """Do so with some of it; whether there may be more."""
    async with transaction(pool) as connection:
        if await connection.fetchval(_BLOCKED, person_id) is not blocked:
            return False  # it was undone meanwhile, or the account is gone
        found, follow = (kind.written, withhold) if blocked else (kind.blocked, let_go)
        arrays = await connection.fetchrow(found, person_id, _BATCH)
        if arrays is None or arrays[0] is None:
            return False
        await follow(connection, kind, arrays)
    return len(arrays[0]) == _BATCH


router = APIRouter(tags=["moderation"], route_class=Route)


@router.put(
    "/users/{id}/block", status_code=204, response_class=Response, responses=answers(Forbidden, NotFound)
)
async def block_account(request: Request, id: Id, why: Why, bearer: MemberBearer) -> Response:  # noqa: A002 (the path's own name)
    """Block an account; for administrators. Whoever logs in to it is told the reason."""
    await block(request, bearer, id, why.reason)
    return Response(status_code=204)


@router.delete(
    "/users/{id}/block", status_code=204, response_class=Response, responses=answers(Forbidden, NotFound)
)
async def unblock_account(
    request: Request,
    id: Id,  # noqa: A002 (the path's own name)
    bearer: MemberBearer,
    why: Why | None = None,
) -> Response:
    """Unblock an account: what it wrote is what it was before; for administrators."""
    await unblock(request, bearer, id, why.reason if why else None)
    return Response(status_code=204)
