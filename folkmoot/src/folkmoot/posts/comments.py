"""Comments: what people say on a post, and in answer to each other, read as a thread.

A thread is read by `path`, the ids from the post's own comment down: an answer comes after what it answers,
and before that one's next neighbour. Pages follow the path. The database places, counts and removes comments,
see revision `add comments`.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic and msgspec read the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http import etags
from folkmoot.http.cursors import CURSOR_PATTERN, InvalidCursor, fitting
from folkmoot.http.etags import IfMatch, IfNoneMatch, PreconditionFailed
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, SEEN, Body, Id, Limit
from folkmoot.http.problems import Conflict, Forbidden, NotFound
from folkmoot.http.routes import Route
from folkmoot.people.caller import Anonymous, Bearer, Caller, Member, MemberBearer, Reader, session_ended
from folkmoot.posts.comment_queries import (
    BELOW,
    BELOW_FOR_NOBODY,
    DELETE,
    DELETE_REMOVED,
    INSERT,
    NEWEST,
    ONE,
    ONE_FOR_NOBODY,
    THREAD,
    THREAD_FOR_NOBODY,
    UPDATE,
)
from folkmoot.posts.posts import UNCHANGED, Owner, OwnerRow, RemovedByAdministrator, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from folkmoot.http.cursors import Cursors
    from folkmoot.postgres.pool import Connection
    from folkmoot.postgres.statement import Statement

Said = Annotated[
    str,
    Field(
        min_length=1,
        max_length=10_000,
        pattern=SEEN,
        description="With something to be seen, not only white space.",
        examples=["I have planks and a saw."],
    ),
]


class ThreadTooDeep(Conflict):
    """The comment that you answer has as many others above it as a thread has levels: 32.

    Answer one that is further up.
    """

    kind, title = "thread-too-deep", "The thread is too deep"
    example = "A thread has 32 levels. Answer a comment that is further up."


class NewComment(Body):
    content: Said
    parent_id: int | None = Field(
        default=None, ge=1, le=MAX_ID, description="The comment that it answers; null: the post itself."
    )


class CommentChanges(Body):
    content: Said


class Comment(BaseModel):
    id: int
    post_id: int
    parent_id: int | None = Field(description="The comment that it answers; null: the post itself.")
    depth: int = Field(description="How many comments are above it: those that it answers.")
    content: str = Field(description="Empty where it is deleted.")
    created_at: datetime
    votes: int = Field(description="How many people voted for it.")
    voted: bool | None = Field(description="Whether you did; null if you are not logged in.")
    deleted: bool = Field(
        description="Whether it is there for its answers alone: deleted, removed, or of a blocked person."
    )
    removed: str | None = Field(description="Why an administrator removed it; only its author sees it then.")
    owner: Owner | None = Field(description="Null where it is deleted.")


class CommentPage(BaseModel):
    items: list[Comment]
    next_cursor: str | None


class CommentRow(msgspec.Struct):
    """The same shape for the encoder."""

    id: int
    post_id: int
    parent_id: int | None
    depth: int
    content: str
    created_at: datetime
    votes: int
    voted: bool | None
    deleted: bool
    removed: str | None
    owner: OwnerRow | None


class CommentPageRow(msgspec.Struct):
    items: list[CommentRow]
    next_cursor: str | None


encode = msgspec.json.Encoder().encode


def shaped(row: asyncpg.Record) -> CommentRow:
    """A comment from a row with its columns."""
    owner = row["owner_id"]
    return CommentRow(
        id=row["id"], post_id=row["post_id"], parent_id=row["parent_id"], depth=len(row["path"]) - 1,
        content=row["content"], created_at=row["created_at"], votes=row["votes"], voted=row["voted"],
        deleted=owner is None, removed=row["removed"],
        owner=None if owner is None else OwnerRow(id=owner, display_name=row["display_name"]),
    )  # fmt: skip


def missing_comment() -> NotFound:
    return NotFound("There is no such comment on a post that you see.")


async def planned(connection: Connection) -> None:
    """Have a connection plan what is asked most: no comments are read."""
    nobody = {"person": 0, "session": 0, "post": 0, "after": [], "count": 0}
    for statement in (THREAD, THREAD_FOR_NOBODY):
        await statement.rows(connection, **nobody)


async def page(
    cursors: Cursors,
    reader: Bearer | Anonymous,
    post_id: int,
    cursor: str | None,
    limit: int,
    above: Sequence[int] = (),
) -> CommentPageRow:
    """One page of a thread, or of what is below the comment with the path `above`.

    Raises NotFound, InvalidCursor, and TokenRefused for an ended session.
    """
    purpose = f"comments of {post_id} below {above[-1]}" if above else f"comments of {post_id}"
    after: list[int] = cursors.read(purpose, cursor) if cursor else [*above]
    values: dict[str, Any] = {"post": post_id, "after": after, "count": limit + 1}
    if above:
        statement, values["above"] = BELOW if reader.known else BELOW_FOR_NOBODY, [*above]
    else:
        statement = THREAD if reader.known else THREAD_FOR_NOBODY
    rows = await reader.ask(statement, **values)
    if not rows:
        raise missing()
    rows = [row for row in rows if row["id"] is not None]
    fits = fitting((len(row["content"]) for row in rows), limit)
    next_cursor = cursors.write(purpose, rows[fits - 1]["path"]) if fits < len(rows) else None
    return CommentPageRow([shaped(row) for row in rows[:fits]], next_cursor)


async def newest(nobody: Anonymous, post_id: int, count: int) -> list[CommentRow]:
    """The newest comments on a post that everybody sees; none where there is no such post."""
    return [shaped(row) for row in await nobody.ask(NEWEST, post=post_id, count=count)]


async def find(reader: Bearer | Anonymous, post_id: int, comment_id: int) -> asyncpg.Record:
    """The row of a comment; raises NotFound, and TokenRefused for an ended session."""
    rows = await reader.ask(ONE if reader.known else ONE_FOR_NOBODY, post=post_id, comment=comment_id)
    if not rows:
        raise missing_comment()
    return rows[0]


async def insert(writer: Bearer, post_id: int, comment: NewComment) -> asyncpg.Record:
    """Add a comment; raises NotFound, ThreadTooDeep, and TokenRefused for an ended session."""
    try:
        (row,) = await writer.ask(INSERT, post=post_id, comment=comment.parent_id, content=comment.content)
    except asyncpg.ForeignKeyViolationError:
        await writer.check()  # what it belongs to is gone, or the account, or that one is blocked
        raise missing_comment() from None
    except asyncpg.CheckViolationError:
        raise ThreadTooDeep from None
    if row["id"] is None:
        raise missing() if comment.parent_id is None else missing_comment()
    return row


async def update(owner: Caller, post_id: int, comment_id: int, if_match: str | None, content: str) -> None:
    """Say something else; raises NotFound, Forbidden, RemovedByAdministrator or PreconditionFailed."""
    await _change([UPDATE], owner, post_id, comment_id, if_match, content=content)


async def delete(owner: Caller, post_id: int, comment_id: int, if_match: str | None) -> None:
    """Delete a comment, whose place stays where it has answers; raises NotFound, Forbidden or
    PreconditionFailed.
    """
    # Once more, as an administrator may restore it between the two.
    await _change([DELETE, DELETE_REMOVED, DELETE], owner, post_id, comment_id, if_match)


async def _change(
    statements: Sequence[Statement],
    owner: Caller,
    post_id: int,
    comment_id: int,
    if_match: str | None,
    **values: Any,
) -> None:
    """Run what changes a comment, until one does."""
    key = {"person": owner.user_id, "post": post_id, "comment": comment_id}
    versions = etags.expected_versions(if_match)
    for statement in statements:
        if await statement.value(owner.connection, **key, versions=versions, **values) is not None:
            return
    await owner.check()
    row = await ONE.row(owner.connection, session=owner.session_id, **key)
    if row is None or row["owner_id"] is None:
        raise missing_comment()
    if row["owner_id"] != owner.user_id:
        raise Forbidden("Only whoever wrote a comment can change it.")
    if row["removed"] is not None and UPDATE in statements:
        raise RemovedByAdministrator(
            "An administrator removed the comment, so it cannot be changed. It may be deleted."
        )
    raise PreconditionFailed


class CommentRoute(Route):
    """A route whose body is a comment: 10,000 characters, each of them escaped, are 120,000 bytes of JSON."""

    body_limit = 128 * 1024


router = APIRouter(tags=["comments"], route_class=CommentRoute)
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where the comment is."}}
# A path has up to 32 ids.
CURSOR = Query(
    max_length=2048,
    pattern=CURSOR_PATTERN,
    description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
)


def _responses(status: int, **headers: Any) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Comment, "headers": {**etags.HEADER, **headers}}}


@router.get(
    "/posts/{post_id}/comments",
    response_class=Response,
    responses={200: {"model": CommentPage}, **UNCHANGED, **answers(NotFound, InvalidCursor)},
)
async def list_comments(
    request: Request,
    post_id: Id,
    reader: Reader,
    limit: Limit = 50,
    cursor: Annotated[str | None, CURSOR] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read what was said on a post: each comment, then its answers, the oldest first."""
    del if_none_match  # declared here, read with the answer
    found = await page(request.app.state.cursors, reader, post_id, cursor, limit)
    return etags.respond(request, encode(found), private=reader.known)


@router.post(
    "/posts/{post_id}/comments",
    status_code=201,
    response_class=Response,
    responses={**_responses(201, **_LOCATION), **answers(NotFound, ThreadTooDeep)},
)
async def create_comment(post_id: Id, comment: NewComment, caller: MemberBearer) -> Response:
    """Say something on a post, or in answer to a comment on it."""
    row = await insert(caller, post_id, comment)
    return _respond(row, 201, {"Location": f"/posts/{post_id}/comments/{row['id']}"})


@router.get(
    "/posts/{post_id}/comments/{comment_id}",
    response_class=Response,
    responses={**_responses(200), **UNCHANGED, **answers(NotFound)},
)
async def get_comment(
    request: Request, post_id: Id, comment_id: Id, reader: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """Read a comment."""
    del if_none_match  # declared here, read with the answer
    row = await find(reader, post_id, comment_id)
    return etags.respond(request, encode(shaped(row)), version=row["version"], private=reader.known)


@router.patch(
    "/posts/{post_id}/comments/{comment_id}",
    response_class=Response,
    responses={**_responses(200), **answers(NotFound, Forbidden, RemovedByAdministrator, PreconditionFailed)},
)
async def change_comment(
    post_id: Id, comment_id: Id, changes: CommentChanges, caller: Member, if_match: IfMatch = None
) -> Response:
    """Change a comment of yours."""
    await update(caller, post_id, comment_id, if_match, changes.content)
    row = await ONE.row(
        caller.connection, person=caller.user_id, session=caller.session_id, post=post_id, comment=comment_id
    )
    if row is None:  # the comment is ours until the transaction ends
        raise session_ended()
    return _respond(row)


@router.delete(
    "/posts/{post_id}/comments/{comment_id}",
    status_code=204,
    response_class=Response,
    responses=answers(NotFound, Forbidden, PreconditionFailed),
)
async def delete_comment(post_id: Id, comment_id: Id, caller: Member, if_match: IfMatch = None) -> Response:
    """Delete a comment of yours; where it has answers, its place stays, without a word of it."""
    await delete(caller, post_id, comment_id, if_match)
    return Response(status_code=204)


def _respond(row: asyncpg.Record, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return etags.written(encode(shaped(row)), row["version"], status, headers)
