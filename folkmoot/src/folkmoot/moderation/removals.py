"""A post or a comment is removed, with a reason that its author reads, and can be restored.

Until then its author alone sees it (see `withholding`): of a post, they may go on editing it, and delete it,
and cannot publish it; a comment they may delete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Id  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.http.routes import Route
from folkmoot.moderation import log, withholding
from folkmoot.moderation.log import Why  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people import administrators
from folkmoot.people.caller import Caller, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.moderation.withholding import Target


async def seen(caller: Caller, target: Target) -> asyncpg.Record:
    """A post or a comment as an administrator sees it, removed or not; raises NotFound."""
    row = await caller.connection.fetchrow(target.kind.seen, *target.key)
    if row is None:
        raise target.kind.missing()
    return row


async def _locked(caller: Caller, target: Target) -> asyncpg.Record:
    """The same, as it is once nobody else changes it."""
    for statement in target.kind.lock:
        await caller.connection.execute(statement, *target.key)
    return await seen(caller, target)


async def settle(caller: Caller, target: Target) -> None:
    """Note that what was reported was looked at."""
    await caller.connection.execute(target.kind.settle, *target.key)


async def remove(request: Request, caller: Caller, target: Target, reason: str) -> None:
    """Remove it, or give another reason for it; raises NotFound."""
    row = await _locked(caller, target)
    await withholding.withhold(caller.connection, target.kind, target.arrays)
    await caller.connection.execute(target.kind.removed, *target.key, reason)
    await settle(caller, target)
    await log.add(request, caller, target.kind.remove, reason, person_id=row["owner_id"], **target.logged)


async def restore(request: Request, caller: Caller, target: Target, reason: str | None) -> None:
    """Restore what was removed; raises NotFound where it was not."""
    row = await _locked(caller, target)
    if row["removed_at"] is None:
        raise NotFound("It is not removed.")
    if row["blocked_at"] is not None:
        await caller.connection.execute(target.kind.not_removed, *target.key)
    else:
        await withholding.let_go(caller.connection, target.kind, target.arrays)
    await log.add(request, caller, target.kind.restore, reason, person_id=row["owner_id"], **target.logged)


router = APIRouter(tags=["moderation"], route_class=Route)
_POST, _COMMENT = "/posts/{post_id}/removal", "/posts/{post_id}/comments/{comment_id}/removal"


@router.put(_POST, status_code=204, response_class=Response, responses=answers(Forbidden, NotFound))
async def remove_post(request: Request, post_id: Id, why: Why, bearer: MemberBearer) -> Response:
    """Remove a post; for administrators. Its author sees the reason, others that it was removed."""
    async with administrators.acting(bearer) as caller:
        await remove(request, caller, withholding.post(post_id), why.reason)
    return Response(status_code=204)


@router.delete(_POST, status_code=204, response_class=Response, responses=answers(Forbidden, NotFound))
async def restore_post(
    request: Request, post_id: Id, bearer: MemberBearer, why: Why | None = None
) -> Response:
    """Restore a post, with what its author changed since; for administrators."""
    async with administrators.acting(bearer) as caller:
        await restore(request, caller, withholding.post(post_id), why.reason if why else None)
    return Response(status_code=204)


@router.put(_COMMENT, status_code=204, response_class=Response, responses=answers(Forbidden, NotFound))
async def remove_comment(
    request: Request, post_id: Id, comment_id: Id, why: Why, bearer: MemberBearer
) -> Response:
    """Remove a comment; for administrators. Its author sees the reason; its place stays for its answers."""
    async with administrators.acting(bearer) as caller:
        await remove(request, caller, withholding.comment(post_id, comment_id), why.reason)
    return Response(status_code=204)


@router.delete(_COMMENT, status_code=204, response_class=Response, responses=answers(Forbidden, NotFound))
async def restore_comment(
    request: Request, post_id: Id, comment_id: Id, bearer: MemberBearer, why: Why | None = None
) -> Response:
    """Restore a comment; for administrators."""
    async with administrators.acting(bearer) as caller:
        target = withholding.comment(post_id, comment_id)
        await restore(request, caller, target, why.reason if why else None)
    return Response(status_code=204)
