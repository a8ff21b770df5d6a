"""Votes: one a person and post. The number on a post is kept by the database, see revision `count votes`."""

from __future__ import annotations

import asyncpg
import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Body, Id
from folkmoot.http.problems import Conflict, NotFound
from folkmoot.http.routes import Route
from folkmoot.people.caller import SESSION, Bearer, MemberBearer
from folkmoot.postgres.statement import Statement
from folkmoot.posts.posts import VISIBLE, missing


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


def _changing(change: str) -> Statement:
    """One statement, and so one transaction: the session, the post as this person sees it, and the vote."""
    return Statement(f"""
        WITH s AS ({SESSION}),
        target AS (SELECT p.id FROM posts AS p CROSS JOIN s WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}),
        changed AS ({change})
        SELECT noted, EXISTS (SELECT FROM target) AS seen, EXISTS (SELECT FROM changed) AS changed FROM s
    """)


CAST = _changing("""
    INSERT INTO votes (user_id, post_id) SELECT CAST(:person AS bigint), id FROM target
    ON CONFLICT DO NOTHING RETURNING 1
""")
WITHDRAW = _changing("""
    DELETE FROM votes
     WHERE user_id = CAST(:person AS bigint) AND post_id = (SELECT id FROM target) RETURNING 1
""")


async def vote(voter: Bearer, post_id: int, *, cast: bool) -> bool:
    """Cast a vote or take it back; False where that changes nothing.

    Raises NotFound where the voter sees no such post, and TokenRefused for an ended session. Locks the post's
    rank until the statement is done.
    """
    try:
        (row,) = await voter.ask(CAST if cast else WITHDRAW, post=post_id)
    except asyncpg.ForeignKeyViolationError:  # the post was deleted meanwhile, or the voter
        await voter.check()
        raise missing() from None
    if not row["seen"]:
        raise missing()
    return bool(row["changed"])


router = APIRouter(tags=["votes"], route_class=Route)


@router.put("/posts/{post_id}/vote", status_code=204, response_class=Response, responses=answers(NotFound))
async def cast_vote(post_id: Id, caller: MemberBearer) -> Response:
    """Vote for a post; once more changes nothing."""
    await vote(caller, post_id, cast=True)
    return Response(status_code=204)


@router.delete("/posts/{post_id}/vote", status_code=204, response_class=Response, responses=answers(NotFound))
async def withdraw_vote(post_id: Id, caller: MemberBearer) -> Response:
    """Take your vote back; where there is none, nothing changes."""
    await vote(caller, post_id, cast=False)
    return Response(status_code=204)


@router.post(
    "/vote", status_code=201, response_class=Response,
    responses={201: {"model": Voted}, **answers(NotFound, AlreadyVoted)},
)  # fmt: skip
async def vote_or_withdraw(ballot: Ballot, caller: MemberBearer) -> Response:
    """Vote for a post (dir 1) or take your vote back (dir 0).

    A second vote is a 409, taking back what is not there a 404.
    """
    cast = ballot.dir == 1
    if not await vote(caller, ballot.post_id, cast=cast):
        if cast:
            raise AlreadyVoted
        raise NotFound("You have no vote for this post.")
    body = msgspec.json.encode({"post_id": ballot.post_id, "voted": cast})
    return Response(body, 201, media_type="application/json")
