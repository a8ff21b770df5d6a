"""Posts: written, read, changed and deleted one at a time. Lists of them are in `lists`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic and msgspec read the annotations)
from typing import Annotated, Any

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http import etags
from folkmoot.http.etags import IfMatch, IfNoneMatch, PreconditionFailed
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import SEEN, Body, Id
from folkmoot.http.problems import Forbidden, NotFound, Problem
from folkmoot.http.routes import Route
from folkmoot.people.caller import NOBODY, SESSION, Anonymous, Bearer, Caller, Member, Reader, session_ended
from folkmoot.postgres.statement import Statement

#: Who sees, finds and votes on a post `p`: everybody, or its owner alone while it is a draft. `:person` asks,
#: null for somebody who is not logged in. Every query on posts has this condition. A post that was removed,
#: or whose owner is blocked, is a draft as well: the database sees to it (revision `moderate`).
VISIBLE = "(p.published OR p.owner_id = CAST(:person AS bigint))"

Title = Annotated[
    str,
    Field(
        min_length=1,
        max_length=300,
        pattern=SEEN,
        description="With something to be seen, not only white space.",
        examples=["A bench by the river"],
    ),
]
Content = Annotated[
    str, Field(max_length=40_000, pattern=r"^[^\x00]*$", examples=["Who would help to build one?"])
]


class Removed(Problem):
    """An administrator removed the post. Its author sees why, and may change or delete it."""

    status, kind, title = 410, "removed", "The post was removed"
    example = "An administrator removed the post."


class RemovedByAdministrator(Forbidden):
    """An administrator removed the post or the comment.

    Its author may delete it. A post may be changed, too, but not published; a comment cannot be changed.
    """

    kind, title = "removed-by-administrator", "It stays removed"
    example = "An administrator removed the post, so it cannot be published. It may be changed, or deleted."


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
    comments: int = Field(description="How many comments it has, but for deleted ones.")
    voted: bool | None = Field(description="Whether you did; null if you are not logged in.")
    removed: str | None = Field(description="Why an administrator removed it; only its owner sees it then.")
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
    comments: int
    voted: bool | None
    removed: str | None
    owner: OwnerRow


encode = msgspec.json.Encoder().encode

#: The columns of a post `p`, its rank `r`, its owner `u` and one's own vote `v`, which `shaped` reads.
COLUMNS = """
    p.id::bigint, p.title, p.content, p.published, p.created_at, r.votes, r.comments,
    CASE WHEN CAST(:person AS bigint) IS NOT NULL THEN v.post_id IS NOT NULL END AS voted,
    CASE WHEN NOT p.published THEN (SELECT reason FROM withheld WHERE post_id = p.id) END AS removed,
    u.id::bigint AS owner_id, u.display_name
"""
JOINED = """
    JOIN users AS u ON u.id = p.owner_id
    LEFT JOIN votes AS v ON v.user_id = CAST(:person AS bigint) AND v.post_id = p.id
"""


def _one(asking: str) -> Statement:
    """The statement that finds a post, and whoever asks for it: no row is either no post or no session."""
    return Statement(f"""
        SELECT {COLUMNS}, p.version, s.noted
          FROM ({asking}) AS s
         CROSS JOIN posts AS p JOIN post_ranks AS r ON r.post_id = p.id {JOINED}
         WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}
    """)


ONE, ONE_FOR_NOBODY = _one(SESSION), _one(NOBODY)
_INSERT = Statement("""
    INSERT INTO posts (title, content, published, owner_id)
    VALUES (:title, :content, :published, CAST(:person AS bigint))
    RETURNING id::bigint
""")
_MINE = """
    WHERE id = CAST(:post AS bigint) AND owner_id = CAST(:person AS bigint)
      AND (CAST(:versions AS int[]) IS NULL OR version = ANY (:versions))
"""
_UPDATE = Statement(f"""
    UPDATE posts
       SET title = coalesce(:title, title), content = coalesce(:content, content),
           published = coalesce(:published, published)
    {_MINE} RETURNING published
""")
_DELETE = Statement(f"DELETE FROM posts {_MINE} RETURNING id::bigint")


def _removed(asking: str) -> Statement:
    """The statement that finds whether somebody sees nothing because the post was removed."""
    return Statement(f"""
        SELECT s.noted FROM ({asking}) AS s CROSS JOIN withheld AS w
         WHERE w.post_id = CAST(:post AS bigint) AND w.removed_at IS NOT NULL
    """)


_REMOVED, _REMOVED_FOR_NOBODY = _removed(SESSION), _removed(NOBODY)
_OWNER = Statement(f"""
    SELECT p.owner_id::bigint FROM posts AS p WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}
""")


def shaped(row: asyncpg.Record) -> PostRow:
    """A post from a row with COLUMNS."""
    return PostRow(
        id=row["id"], title=row["title"], content=row["content"], published=row["published"],
        created_at=row["created_at"], votes=row["votes"], comments=row["comments"], voted=row["voted"],
        removed=row["removed"],
        owner=OwnerRow(id=row["owner_id"], display_name=row["display_name"]),
    )  # fmt: skip


async def find(reader: Bearer | Anonymous, post_id: int) -> asyncpg.Record:
    """The row of a post that this reader may see.

    Raises NotFound, Removed, and TokenRefused for an ended session.
    """
    rows = await reader.ask(ONE if reader.known else ONE_FOR_NOBODY, post=post_id)
    if not rows:
        if await reader.ask(_REMOVED if reader.known else _REMOVED_FOR_NOBODY, post=post_id):
            raise Removed
        raise missing()
    return rows[0]


async def written(caller: Caller, post_id: int) -> asyncpg.Record:
    """The row of a post that its owner has just written; raises TokenRefused."""
    row = await ONE.row(caller.connection, person=caller.user_id, session=caller.session_id, post=post_id)
    if row is None:  # the post is ours until the transaction ends
        raise session_ended()
    return row


def missing() -> NotFound:
    return NotFound("There is no such post.")


async def insert(owner: Caller, post: NewPost) -> int:
    """Add a post and return its id; raises TokenRefused where the owner's account was deleted meanwhile."""
    try:
        made: int = await _INSERT.value(owner.connection, person=owner.user_id, **post.model_dump())
    except asyncpg.ForeignKeyViolationError:
        raise session_ended() from None
    return made


async def update(owner: Caller, post_id: int, if_match: str | None, changes: dict[str, Any]) -> None:
    """Change a post, or what of it is not None; raises NotFound, Forbidden, PreconditionFailed
    and RemovedByAdministrator.
    """
    key = {"person": owner.user_id, "post": post_id, "versions": etags.expected_versions(if_match)}
    values = {name: changes.get(name) for name in ("title", "content", "published")}
    published = await _UPDATE.value(owner.connection, **key, **values)
    if published is None:
        await _refuse(owner, post_id)
    elif values["published"] and not published:
        raise RemovedByAdministrator


async def delete(owner: Caller, post_id: int, if_match: str | None) -> None:
    """Delete a post, its votes and its comments; raises NotFound, Forbidden or PreconditionFailed."""
    key = {"person": owner.user_id, "post": post_id, "versions": etags.expected_versions(if_match)}
    if await _DELETE.value(owner.connection, **key) is None:
        await _refuse(owner, post_id)


async def _refuse(caller: Caller, post_id: int) -> None:
    """Say why nothing was written."""
    await caller.check()
    owner_id = await _OWNER.value(caller.connection, person=caller.user_id, post=post_id)
    if owner_id is None:
        raise missing()
    if owner_id != caller.user_id:
        raise Forbidden("Only its owner can change a post.")
    raise PreconditionFailed


class PostRoute(Route):
    """A route whose body is a post: 40,000 characters, each of them escaped, are 480,000 bytes of JSON."""

    body_limit = 512 * 1024


router = APIRouter(tags=["posts"], route_class=PostRoute)
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Where the post is."}}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is as If-None-Match has it."}}


def _responses(status: int, **headers: Any) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Post, "headers": {**etags.HEADER, **headers}}}


@router.post("/posts", status_code=201, response_class=Response, responses=_responses(201, **_LOCATION))
async def create_post(post: NewPost, caller: Member) -> Response:
    """Write a post."""
    row = await written(caller, await insert(caller, post))
    return _respond(row, 201, {"Location": f"/posts/{row['id']}"})


@router.get(
    "/posts/{post_id}",
    response_class=Response,
    responses={**_responses(200), **UNCHANGED, **answers(NotFound, Removed)},
)
async def get_post(
    request: Request, post_id: Id, reader: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    """Read a post; a draft is found by its owner only."""
    del if_none_match  # declared here, read with the answer
    row = await find(reader, post_id)
    return etags.respond(request, encode(shaped(row)), version=row["version"], private=reader.known)


_WRITE = {**_responses(200), **answers(NotFound, Forbidden, RemovedByAdministrator, PreconditionFailed)}


@router.put("/posts/{post_id}", response_class=Response, responses=_WRITE)
async def replace_post(post_id: Id, post: NewPost, caller: Member, if_match: IfMatch = None) -> Response:
    """Replace a post of yours."""
    await update(caller, post_id, if_match, post.model_dump())
    return _respond(await written(caller, post_id))


@router.patch("/posts/{post_id}", response_class=Response, responses=_WRITE)
async def change_post(
    post_id: Id, changes: PostChanges, caller: Member, if_match: IfMatch = None
) -> Response:
    """Change parts of a post of yours."""
    await update(caller, post_id, if_match, changes.model_dump(exclude_unset=True))
    return _respond(await written(caller, post_id))


@router.delete(
    "/posts/{post_id}",
    status_code=204,
    response_class=Response,
    responses=answers(NotFound, Forbidden, PreconditionFailed),
)
async def delete_post(post_id: Id, caller: Member, if_match: IfMatch = None) -> Response:
    """Delete a post of yours, and its votes and comments with it."""
    await delete(caller, post_id, if_match)
    return Response(status_code=204)


def _respond(row: asyncpg.Record, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return etags.written(encode(shaped(row)), row["version"], status, headers)
