"""Votes: one a person and post, one a person and comment. The database keeps the numbers, see revisions
`count votes` and `add comments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from folkmoot.posts.comment_queries import LIVING
from folkmoot.posts.comments import missing_comment
from folkmoot.posts.posts import VISIBLE, missing

if TYPE_CHECKING:
    from collections.abc import Callable


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


@dataclass(frozen=True)
class Votes:
    """What can be voted on, and how a vote on it is cast and taken back."""

    cast: Statement
    withdraw: Statement
    missing: Callable[[], NotFound]


def _votes(table: str, key: str, target: str, missing: Callable[[], NotFound]) -> Votes:
    """Votes in a table with `user_id` and the columns of `key`, which `target` has for one post `p` that the
    voter sees.
    """

    def changing(change: str) -> Statement:
        """One statement, and so one transaction: the session, what is voted on, and the vote."""
        return Statement(f"""
            WITH s AS ({SESSION}),
            target AS ({target} CROSS JOIN s WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}),
            changed AS ({change})
            SELECT noted, EXISTS (SELECT FROM target) AS seen, EXISTS (SELECT FROM changed) AS changed FROM s
        """)

    return Votes(
        changing(f"""
            INSERT INTO {table} (user_id, {key}) SELECT CAST(:person AS bigint), {key} FROM target
            ON CONFLICT DO NOTHING RETURNING 1
        """),
        changing(f"""
            DELETE FROM {table}
             WHERE user_id = CAST(:person AS bigint) AND ({key}) = (SELECT {key} FROM target) RETURNING 1
        """),
        missing,
    )


ON_POSTS = _votes("votes", "post_id", "SELECT p.id AS post_id FROM posts AS p", missing)
ON_COMMENTS = _votes(
    "comment_votes",
    "post_id, comment_id",
    f"SELECT p.id AS post_id, c.id AS comment_id FROM posts AS p JOIN comments AS c ON {LIVING}",
    missing_comment,
)


async def vote(voter: Bearer, votes: Votes, *, cast: bool, **key: int) -> bool:
    """Cast a vote or take it back; False where that changes nothing.

    Raises NotFound where the voter sees no such thing, and TokenRefused for an ended session. Locks the row
    that has the number until the statement is done.
    """
    try:
        (row,) = await voter.ask(votes.cast if cast else votes.withdraw, **key)
    except asyncpg.ForeignKeyViolationError:  # it was deleted meanwhile, or the voter
        await voter.check()
        raise votes.missing() from None
    if not row["seen"]:
        raise votes.missing()
    return bool(row["changed"])


router = APIRouter(tags=["votes"], route_class=Route)
_POST, _COMMENT = "/posts/{post_id}/vote", "/posts/{post_id}/comments/{comment_id}/vote"


@router.put(_POST, status_code=204, response_class=Response, responses=answers(NotFound))
async def cast_vote(post_id: Id, caller: MemberBearer) -> Response:
    """Vote for a post; once more changes nothing."""
    await vote(caller, ON_POSTS, cast=True, post=post_id)
    return Response(status_code=204)


@router.delete(_POST, status_code=204, response_class=Response, responses=answers(NotFound))
async def withdraw_vote(post_id: Id, caller: MemberBearer) -> Response:
    """Take your vote back; where there is none, nothing changes."""
    await vote(caller, ON_POSTS, cast=False, post=post_id)
    return Response(status_code=204)


@router.put(_COMMENT, status_code=204, response_class=Response, responses=answers(NotFound))
async def cast_comment_vote(post_id: Id, comment_id: Id, caller: MemberBearer) -> Response:
    """Vote for a comment; once more changes nothing."""
    await vote(caller, ON_COMMENTS, cast=True, post=post_id, comment=comment_id)
    return Response(status_code=204)


@router.delete(_COMMENT, status_code=204, response_class=Response, responses=answers(NotFound))
async def withdraw_comment_vote(post_id: Id, comment_id: Id, caller: MemberBearer) -> Response:
    """Take your vote for a comment back; where there is none, nothing changes."""
    await vote(caller, ON_COMMENTS, cast=False, post=post_id, comment=comment_id)
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
    if not await vote(caller, ON_POSTS, cast=cast, post=ballot.post_id):
        if cast:
            raise AlreadyVoted
        raise NotFound("You have no vote for this post.")
    body = msgspec.json.encode({"post_id": ballot.post_id, "voted": cast})
    return Response(body, 201, media_type="application/json")
