"""An account is blocked: its sessions end, no other begins, and its posts leave the lists, until it is not.

The sessions end in one transaction; the posts follow in short ones, as somebody may have thousands. Who is
blocked twice, or unblocked twice, has what the first time did not come to done.
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
from folkmoot.people import administrators, sessions
from folkmoot.people.caller import Bearer, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.people.caller import Caller
    from folkmoot.postgres.pool import Connection, Pool

#: How many posts are withheld, or let go, in one transaction.
_BATCH = 200

# Whoever writes a post holds a key share lock on its owner until the commit: this comes before or after it.
_LOCK = """
    SELECT id::bigint, display_name, administrator, blocked_at FROM users WHERE id = $1::bigint FOR UPDATE
"""
_BLOCK = """
    UPDATE users SET blocked_at = coalesce(blocked_at, now()), blocked_reason = $2 WHERE id = $1::bigint
"""
_UNBLOCK = "UPDATE users SET blocked_at = NULL, blocked_reason = NULL WHERE id = $1::bigint"
_BLOCKED = "SELECT blocked_at IS NOT NULL FROM users WHERE id = $1::bigint FOR KEY SHARE"
_PUBLISHED = """
    SELECT array_agg(id) FROM (
        SELECT id FROM posts WHERE owner_id = $1::bigint AND published ORDER BY id LIMIT $2 FOR UPDATE) AS p
"""
_WITHHOLD = """
    INSERT INTO withheld (post_id, published) SELECT id, TRUE FROM unnest($1::bigint[]) AS id
    ON CONFLICT DO NOTHING
"""
_HIDE = "UPDATE posts SET published = FALSE WHERE id = ANY ($1::bigint[])"
_WITHHELD = """
    SELECT array_agg(id) FROM (
        SELECT p.id FROM posts AS p JOIN withheld AS w ON w.post_id = p.id
         WHERE p.owner_id = $1::bigint AND w.removed_at IS NULL ORDER BY p.id LIMIT $2 FOR UPDATE OF p) AS p
"""
_LET_GO = """
    WITH gone AS (DELETE FROM withheld WHERE post_id = ANY ($1::bigint[]) RETURNING post_id, published)
    SELECT array_agg(post_id) FROM gone WHERE published
"""
_SHOW = "UPDATE posts SET published = TRUE WHERE id = ANY ($1::bigint[])"


async def block(request: Request, bearer: Bearer, person_id: int, reason: str) -> None:
    """Block an account; raises NotFound, and Forbidden for an administrator's."""
    async with administrators.acting(bearer) as caller:
        if (await _locked(caller, person_id))["administrator"]:
            raise Forbidden("An administrator is not blocked. Revoke that first.")
        await caller.connection.execute(_BLOCK, person_id, reason)
        await sessions.end_all(request, caller.connection, person_id, "blocked")
        await log.add(request, caller, Action.block, reason, person_id=person_id)
    pool: Pool = request.app.state.pool
    while await _batch(pool, person_id, blocked=True):
        pass


async def unblock(request: Request, bearer: Bearer, person_id: int, reason: str | None) -> None:
    """Unblock an account; raises NotFound."""
    async with administrators.acting(bearer) as caller:
        await _locked(caller, person_id)
        await caller.connection.execute(_UNBLOCK, person_id)
        await log.add(request, caller, Action.unblock, reason, person_id=person_id)
    pool: Pool = request.app.state.pool
    while await _batch(pool, person_id, blocked=False):
        pass


async def _locked(caller: Caller, person_id: int) -> asyncpg.Record:
    row = await caller.connection.fetchrow(_LOCK, person_id)
    if row is None:
        raise NotFound("There is no such person.")
    return row


async def _batch(pool: Pool, person_id: int, *, blocked: bool) -> bool:
    """Withhold some posts of somebody, or let some go; whether there may be more."""
    async with transaction(pool) as connection:
        if await connection.fetchval(_BLOCKED, person_id) is not blocked:
            return False  # it was undone meanwhile, or the account is gone
        found = _PUBLISHED if blocked else _WITHHELD
        posts: list[int] = await connection.fetchval(found, person_id, _BATCH) or []
        await (_withhold if blocked else _let_go)(connection, posts)
    return len(posts) == _BATCH


async def _withhold(connection: Connection, posts: list[int]) -> None:
    await connection.execute(_WITHHOLD, posts)
    await connection.execute(_HIDE, posts)


async def _let_go(connection: Connection, posts: list[int]) -> None:
    await connection.execute(_SHOW, await connection.fetchval(_LET_GO, posts) or [])


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
    """Unblock an account: its posts are what they were before; for administrators."""
    await unblock(request, bearer, id, why.reason if why else None)
    return Response(status_code=204)
