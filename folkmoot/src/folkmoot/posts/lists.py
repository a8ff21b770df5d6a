"""Lists of posts: newest, most votes, hottest; of one owner; that match a search.

Pages follow a key, never an offset, and the cursor carries the last post's key. For `new` that is the id.
For `top` and `hot` it changes as votes come and go, so the cursor also carries the snapshot in which paging
began: a post whose votes fell since then may have been shown further up and is left out of later pages. So no
page shows a post again, and what stood still (no vote taken back, not edited between draft and published) is
shown once. A post that rose past the cursor is missed: it is on the first page's side now.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from folkmoot.http import etags
from folkmoot.http.cursors import CURSOR_PATTERN, InvalidCursor, fitting
from folkmoot.http.etags import IfNoneMatch  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Limit, Reference
from folkmoot.http.problems import TooManyRequests
from folkmoot.http.routes import Route
from folkmoot.people.caller import Reader  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.limits import SEARCHES
from folkmoot.posts.list_queries import ORDERS, Sort, Which, in_order, indexable, walked
from folkmoot.posts.posts import ONE, ONE_FOR_NOBODY, UNCHANGED, Post, PostRow, shaped
from folkmoot.posts.search import SearchTooBroad

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.http.cursors import Cursors
    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.postgres.pool import Connection
    from folkmoot.posts.search import Search


class PostPage(BaseModel):
    items: list[Post]
    next_cursor: str | None


class PageRow(msgspec.Struct):
    items: list[PostRow]
    next_cursor: str | None


_encode = msgspec.json.Encoder().encode
#: Where the first page begins: before everything.
FIRST: dict[Sort, dict[str, Any]] = {
    Sort.new: {"id": MAX_ID, "snapshot": None},
    Sort.top: {"votes": 2**31 - 1, "id": MAX_ID, "snapshot": None},
    Sort.hot: {"hot": float("inf"), "id": MAX_ID, "snapshot": None},
}


class Feed(msgspec.Struct, frozen=True):
    """Which posts, in which order."""

    sort: Sort
    words: str | None
    owner: int | None
    #: A search finds both.
    which: Which = Which.both

    @property
    def purpose(self) -> str:
        """What a cursor of this list is sealed with."""
        which = () if self.which is Which.both else (self.which,)
        return msgspec.json.encode(("posts", self.sort, self.words, self.owner, *which)).decode()


async def rows_after(
    search: Search, reader: Bearer | Anonymous, feed: Feed, after: dict[str, Any], count: int
) -> tuple[list[asyncpg.Record], bool]:
    """At most ``count`` posts of a list that come after a sort key; whether fewer do not mean its end."""
    filters: dict[str, Any] = {"words": feed.words, "owner": feed.owner}
    if feed.words is not None:
        return await search.matching(reader, feed.sort, filters, after, count)
    statement = in_order(feed.sort, known=reader.known, owner=feed.owner is not None, which=feed.which)
    return await reader.ask(statement, **after, count=count, **filters), False


async def planned(connection: Connection) -> None:
    """Have a connection plan what is asked most: no posts are read.

    With the first search it reads the dictionaries, and how many posts have which words, which takes longest.
    """
    nobody = {"person": 0, "session": 0, "owner": None, "count": 0, "words": "word"}
    await indexable().rows(connection, **nobody)
    for sort in Sort:
        after = {**nobody, **FIRST[sort]}
        for known in (False, True):
            await in_order(sort, known=known, owner=False).rows(connection, **after)
        # The pages' front page has no drafts.
        await in_order(sort, known=True, owner=False, which=Which.published).rows(connection, **after)
        await walked(sort, known=False, owner=False, some=False).rows(connection, **after)
    for statement in (ONE, ONE_FOR_NOBODY):
        await statement.rows(connection, **nobody, post=0)


async def page(
    search: Search, cursors: Cursors, reader: Bearer | Anonymous, feed: Feed, cursor: str | None, limit: int
) -> PageRow:
    """One page of a list; raises InvalidCursor, SearchTooBroad, and TokenRefused for an ended session."""
    after: dict[str, Any] = cursors.read(feed.purpose, cursor) if cursor else FIRST[feed.sort]
    rows, more = await rows_after(search, reader, feed, after, limit + 1)
    next_cursor = None
    fits = fitting((len(row["title"]) + len(row["content"]) for row in rows), limit)
    if more or fits < len(rows):
        del rows[fits:]
        last = rows[-1]
        key = {name: last[f"key_{name}"] for name in ORDERS[feed.sort].key}
        next_cursor = cursors.write(feed.purpose, {**key, "snapshot": after["snapshot"] or last["snapshot"]})
    return PageRow([shaped(row) for row in rows], next_cursor)


async def read(
    request: Request,
    reader: Bearer | Anonymous,
    sort: Sort,
    *,
    words: str | None = None,
    owner: int | None = None,
    which: Which = Which.both,
    cursor: str | None = None,
    limit: int,
) -> PageRow:
    """One page of a list for whoever asks, a search counted; raises as `page`, and TooManyRequests."""
    state = request.app.state
    if words is not None:
        await reader.count(request, SEARCHES)
    feed = Feed(sort, None if words is None else _DASHES.sub("-", words), owner, which)
    return await page(state.search, state.cursors, reader, feed, cursor, limit)


router = APIRouter(tags=["posts"], route_class=Route)
#: PostgreSQL counts each as a "not" of what comes next, and fails where there are more than 32 before a word.
_DASHES = re.compile(r'-(?:[^\w"]|_)*-')
WORDS = Query(
    max_length=200,
    pattern=r"^[^\x00]*$",
    description='Words to search for, as web search engines take them: "a phrase", or, -not.',
    examples=["river bench"],
)
# A snapshot lists the transactions in flight, so this cursor can be longer than others.
CURSOR = Query(
    max_length=8192,
    pattern=CURSOR_PATTERN,
    description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
)


@router.get(
    "/posts",
    response_class=Response,
    responses={
        200: {"model": PostPage},
        **UNCHANGED,
        **answers(InvalidCursor, SearchTooBroad, TooManyRequests),
    },
)
async def list_posts(
    request: Request,
    reader: Reader,
    sort: Annotated[Sort, Query(description="What comes first.")] = Sort.new,
    q: Annotated[str | None, WORDS] = None,
    owner: Annotated[Reference | None, Query(description="Only posts of this person.")] = None,
    limit: Limit = 10,
    cursor: Annotated[str | None, CURSOR] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read a list of posts: everybody's published ones, and your own drafts."""
    del if_none_match  # declared here, read with the answer
    found = await read(request, reader, sort, words=q, owner=owner, cursor=cursor, limit=limit)
    return etags.respond(request, _encode(found), private=reader.known)
