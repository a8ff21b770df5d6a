"""Posts: written, read, changed and deleted one at a time. Lists of them are in `lists`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic and msgspec read the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http import etags
from folkmoot.http.etags import IfMatch, IfNoneMatch, PreconditionFailed
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Body, Id
from folkmoot.http.problems import Forbidden, NotFound
from folkmoot.people.caller import NOTED, Caller, Member, ReadingClaimant, alive
from folkmoot.postgres.pool import Route, Transaction

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.postgres.pool import Connection, Pool

#: Who sees, finds and votes on a post `p`: everybody, or its owner alone while it is a draft. $1 is the
#: person who asks, null for somebody who is not logged in. Every query on posts has this condition.
VISIBLE = "(p.published OR p.owner_id = $1::bigint)"

# Not only white space, and no NUL, which PostgreSQL's text cannot hold.
Title = Annotated[
    str,
    Field(
        min_length=1,
        max_length=300,
        pattern=r"^[^\x00]*[^\s\x00][^\x00]*$",
        description="Not only white space.",
        examples=["A bench by the river"],
    ),
]
Content = Annotated[
    str, Field(max_length=40_000, pattern=r"^[^\x00]*$", examples=["Who would help to build one?"])
]


class NewPost(Body):
    title: Title
    content: Content
    published: bool = Field(default=True, description="false keeps it a draft, which only its owner sees.")


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class PostChanges(Body):
    """What is to change; what is left out stays."""

    title: Title = Field(default="", json_schema_extra=_without_default)
    content: Content = Field(default="", json_schema_extra=_without_default)
    published: bool = Field(default=True, json_schema_extra=_without_default)


class Owner(BaseModel):
    id: int
    display_name: str | None


class Post(BaseModel):
    id: int
    title: str
    content: str
    published: bool = Field(description="false: a draft, which only its owner sees.")
    created_at: datetime
    votes: int = Field(description="How many people voted for it.")
    voted: bool | None = Field(description="Whether you did; null if you are not logged in.")
    owner: Owner


# The same shapes for the encoder, which writes them five times as fast as Pydantic; a test compares the two.
class OwnerRow(msgspec.Struct):
    id: int
    display_name: str | None


class PostRow(msgspec.Struct):
    id: int
    title: str
    content: str
    published: bool
    created_at: datetime
    votes: int
    voted: bool | None
    owner: OwnerRow


encode = msgspec.json.Encoder().encode

#: The columns of a post `p`, its rank `r`, its owner `u` and one's own vote `v`, in the order of `shaped`.
COLUMNS = """
    p.id::bigint, p.title, p.content, p.published, p.created_at, r.votes,
    CASE WHEN $1::bigint IS NOT NULL THEN v.post_id IS NOT NULL END, u.id::bigint, u.display_name
"""
JOINED = """
    JOIN users AS u ON u.id = p.owner_id
    LEFT JOIN votes AS v ON v.user_id = $1::bigint AND v.post_id = p.id
"""
ONE = f"""
    SELECT {COLUMNS}, p.version FROM posts AS p JOIN post_ranks AS r ON r.post_id = p.id {JOINED}
     WHERE p.id = $2::bigint AND {VISIBLE}
"""
# The session is looked up by the same statement: no row is either no post or no session.
ONE_FOR_CALLER = f"""
    SELECT {COLUMNS}, p.version, s.noted
      FROM (SELECT {NOTED} AS noted FROM sessions
             WHERE id = $3 AND user_id = $1::bigint AND expires_at > now()) AS s
     CROSS JOIN posts AS p JOIN post_ranks AS r ON r.post_id = p.id {JOINED}
     WHERE p.id = $2::bigint AND {VISIBLE}
"""
_INSERT = """
    INSERT INTO posts (title, content, published, owner_id) VALUES ($1, $2, $3, $4::bigint)
    RETURNING id::bigint
"""
_UPDATE = """
    UPDATE posts
       SET title = coalesce($4, title), content = coalesce($5, content), published = coalesce($6, published)
     WHERE id = $2::bigint AND owner_id = $1::bigint AND ($3::int[] IS NULL OR version = ANY ($3))
    RETURNING id::bigint
"""
_DELETE = """
    DELETE FROM posts
     WHERE id = $2::bigint AND owner_id = $1::bigint AND ($3::int[] IS NULL OR version = ANY ($3))
    RETURNING id::bigint
"""
_OWNER = f"SELECT p.owner_id::bigint FROM posts AS p WHERE p.id = $2::bigint AND {VISIBLE}"


def shaped(row: asyncpg.Record) -> PostRow:
    """A post from the first nine columns of a row."""
    return PostRow(row[0], row[1], row[2], row[3], row[4], row[5], row[6], OwnerRow(row[7], row[8]))


async def find(connection: Connection | Pool, reader: Caller | None, post_id: int) -> asyncpg.Record:
    """The row of a post that this reader may see; raises NotFound, and TokenRefused for an ended session."""
    if reader is None:
        row = await connection.fetchrow(ONE, None, post_id)
    else:
        row = await connection.fetchrow(ONE_FOR_CALLER, reader.user_id, post_id, reader.session_id)
        if row is None or not row[10]:
            await alive(connection, reader)
    if row is None:
        raise missing()
    return row


def missing() -> NotFound:
    return NotFound("There is no such post.")


async def insert(connection: Connection, owner: Caller, post: NewPost) -> int:
    """Add a post and return its id."""
    values = post.title, post.content, post.published, owner.user_id
    made: int = await connection.fetchval(_INSERT, *values)
    return made


async def update(
    connection: Connection, owner: Caller, post_id: int, if_match: str | None, changes: dict[str, Any]
) -> None:
    """Change a post; raises NotFound, Forbidden or PreconditionFailed."""
    values = (changes.get(name) for name in ("title", "content", "published"))
    key = owner.user_id, post_id, etags.expected_versions(if_match)
    if await connection.fetchval(_UPDATE, *key, *values) is None:
        await _refuse(connection, owner, post_id)


async def delete(connection: Connection, owner: Caller, post_id: int, if_match: str | None) -> None:
    """Delete a post and its votes; raises NotFound, Forbidden or PreconditionFailed."""
    key = owner.user_id, post_id, etags.expected_versions(if_match)
    if await connection.fetchval(_DELETE, *key) is None:
        await _refuse(connection, owner, post_id)


async def _refuse(connection: Connection, caller: Caller, post_id: int) -> None:
    """Say why nothing was written."""
    owner_id = await connection.fetchval(_OWNER, caller.user_id, post_id)
    if owner_id is None:
        raise missing()
    if owner_id != caller.user_id:
        raise Forbidden("Only its owner can change a post.")
    raise PreconditionFailed


router = APIRouter(tags=["posts"], route_class=Route)
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match and If-Match."}}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where the post is."}}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is as If-None-Match has it."}}


def _responses(status: int, **headers: Any) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Post, "headers": {**_ETAG, **headers}}}


@router.post("/posts", status_code=201, response_class=Response, responses=_responses(201, **_LOCATION))
async def create_post(post: NewPost, caller: Member, connection: Transaction) -> Response:
    """Write a post."""
    row = await find(connection, caller, await insert(connection, caller, post))
    return _written(row, 201, {"Location": f"/posts/{row[0]}"})


@router.get(
    "/posts/{post_id}",
    response_class=Response,
    responses={**_responses(200), **UNCHANGED, **answers(NotFound)},
)
async def get_post(
    request: Request, post_id: Id, reader: ReadingClaimant, if_none_match: IfNoneMatch = None
) -> Response:
    """Read a post; a draft is found by its owner only."""
    del if_none_match  # declared here, read with the answer
    row = await find(request.app.state.pool, reader, post_id)
    return etags.respond(request, encode(shaped(row)), version=row[9], private=reader is not None)


_WRITE = {**_responses(200), **answers(NotFound, Forbidden, PreconditionFailed)}


@router.put("/posts/{post_id}", response_class=Response, responses=_WRITE)
async def replace_post(
    post_id: Id, post: NewPost, caller: Member, connection: Transaction, if_match: IfMatch = None
) -> Response:
    """Replace a post of yours."""
    await update(connection, caller, post_id, if_match, post.model_dump())
    return _written(await find(connection, caller, post_id))


@router.patch("/posts/{post_id}", response_class=Response, responses=_WRITE)
async def change_post(
    post_id: Id, changes: PostChanges, caller: Member, connection: Transaction, if_match: IfMatch = None
) -> Response:
    """Change parts of a post of yours."""
    await update(connection, caller, post_id, if_match, changes.model_dump(exclude_unset=True))
    return _written(await find(connection, caller, post_id))


@router.delete(
    "/posts/{post_id}",
    status_code=204,
    response_class=Response,
    responses=answers(NotFound, Forbidden, PreconditionFailed),
)
async def delete_post(
    post_id: Id, caller: Member, connection: Transaction, if_match: IfMatch = None
) -> Response:
    """Delete a post of yours, and its votes with it."""
    await delete(connection, caller, post_id, if_match)
    return Response(status_code=204)


def _written(row: asyncpg.Record, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = encode(shaped(row))
    headers = {**(headers or {}), "ETag": etags.etag(body, row[9]), "Cache-Control": "private, no-cache"}
    return Response(body, status, headers, "application/json")
