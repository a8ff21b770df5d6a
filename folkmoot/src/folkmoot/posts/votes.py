"""Votes: one a person and post. The number on a post is kept by the database, see revision `count votes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Body, Id
from folkmoot.http.problems import Conflict, NotFound
from folkmoot.people.caller import NOTED, Caller, Claimant, alive
from folkmoot.postgres.pool import Route
from folkmoot.posts.posts import VISIBLE, missing

if TYPE_CHECKING:
    from folkmoot.postgres.pool import Connection, Pool


class AlreadyVoted(Conflict):
    """You voted for this post before, and one vote is all that a person has."""

    kind, title = "already-voted", "You have voted for this post"
    example = "You have voted for this post already."


class Ballot(Body):
    """A vote, or its withdrawal."""

    post_id: int = Field(ge=1, le=MAX_ID, examples=[1])
    dir: int = Field(ge=0, le=1, description="1 votes for the post, 0 takes it back.", examples=[1])


class Voted(BaseModel):
    post_id: int
    voted: bool


# One statement, and so one transaction: the session, the post as this person sees it, and the vote.
_MAY_VOTE = f"""
    s AS (
        SELECT {NOTED} AS noted FROM sessions
         WHERE id = $3 AND user_id = $1::bigint AND expires_at > now()
    ),
    target AS (SELECT p.id FROM posts AS p CROSS JOIN s WHERE p.id = $2::bigint AND {VISIBLE})
"""
CAST = f"""
    WITH {_MAY_VOTE},
    changed AS (
        INSERT INTO votes (user_id, post_id) SELECT $1::bigint, id FROM target
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT noted, EXISTS (SELECT FROM target), EXISTS (SELECT FROM changed) FROM s
"""
WITHDRAW = f"""
    WITH {_MAY_VOTE},
    changed AS (
        DELETE FROM votes WHERE user_id = $1::bigint AND post_id = (SELECT id FROM target) RETURNING 1
    )
    SELECT noted, EXISTS (SELECT FROM target), EXISTS (SELECT FROM changed) FROM s
"""


async def vote(connection: Connection | Pool, voter: Caller, post_id: int, *, cast: bool) -> bool:
    """Cast a vote or take it back; False where that changes nothing.

    Raises NotFound where the voter sees no such post, and TokenRefused for an ended session. Locks the post's
    rank until the statement is done.
    """
    key = voter.user_id, post_id, voter.session_id
    try:
        row = await connection.fetchrow(CAST if cast else WITHDRAW, *key)
    except asyncpg.ForeignKeyViolationError:  # the post was deleted meanwhile, or the voter
        row = None
    if row is None or not row[0]:
        await alive(connection, voter)
    if row is None or not row[1]:
        raise missing()
    return bool(row[2])


router = APIRouter(tags=["votes"], route_class=Route)


@router.put("/posts/{post_id}/vote", status_code=204, response_class=Response, responses=answers(NotFound))
async def cast_vote(request: Request, post_id: Id, caller: Claimant) -> Response:
    """Vote for a post; once more changes nothing."""
    await vote(request.app.state.pool, caller, post_id, cast=True)
    return Response(status_code=204)


@router.delete("/posts/{post_id}/vote", status_code=204, response_class=Response, responses=answers(NotFound))
async def withdraw_vote(request: Request, post_id: Id, caller: Claimant) -> Response:
    """Take your vote back; where there is none, nothing changes."""
    await vote(request.app.state.pool, caller, post_id, cast=False)
    return Response(status_code=204)


@router.post(
    "/vote", status_code=201, response_class=Response,
    responses={201: {"model": Voted}, **answers(NotFound, AlreadyVoted)},
)  # fmt: skip
async def vote_or_withdraw(request: Request, ballot: Ballot, caller: Claimant) -> Response:
    """Vote for a post (dir 1) or take your vote back (dir 0).

    A second vote is a 409, taking back what is not there a 404.
    """
    cast = ballot.dir == 1
    if not await vote(request.app.state.pool, caller, ballot.post_id, cast=cast):
        if cast:
            raise AlreadyVoted
        raise NotFound("You have no vote for this post.")
    body = msgspec.json.encode({"post_id": ballot.post_id, "voted": cast})
    return Response(body, 201, media_type="application/json")
