"""Lists of posts: newest, most votes, hottest; of one owner; that match a search.

Pages follow a key, never an offset, and the cursor carries the last post's key. For `new` that is the id.
For `top` and `hot` it changes as votes come and go, so the cursor also carries the snapshot in which paging
began: a post whose votes fell since then may have been shown further up and is left out of later pages. So no
page shows a post again, and what stood still (no vote taken back, not edited between draft and published) is
shown once. A post that rose past the cursor is missed: it is on the first page's side now.

Search. No one plan finds the newest matches fast for every word: walking from the newest post down is fast
for a common word and reads everything for a rare one; the index on words (GIN) is fast for a rare one and has
to sort every match of a common one. So the newest posts are walked in windows as long as they yield matches,
and once they yield few, the index is asked for the rest: its matches are few, then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from folkmoot.http import etags
from folkmoot.http.cursors import InvalidCursor
from folkmoot.http.etags import IfNoneMatch  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Limit, Reference
from folkmoot.people.caller import Caller, ReadingClaimant, alive
from folkmoot.postgres.pool import Route
from folkmoot.posts.list_queries import Sort, indexed, list_query, window
from folkmoot.posts.posts import UNCHANGED, Post, PostRow, shaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from folkmoot.http.cursors import Cursors
    from folkmoot.postgres.pool import Pool


class PostPage(BaseModel):
    items: list[Post]
    next_cursor: str | None


class PageRow(msgspec.Struct):
    items: list[PostRow]
    next_cursor: str | None


_encode = msgspec.json.Encoder().encode
_FIRST: dict[Sort, tuple[Any, ...]] = {
    Sort.new: (MAX_ID,),
    Sort.top: (2**31 - 1, MAX_ID),
    Sort.hot: (float("inf"), MAX_ID),
}
#: How many of the newest ids one window of a search has.
_WINDOW = 1000
#: With fewer matches than this in a window, the index is asked for the rest.
_FEW = 3


class Feed(msgspec.Struct, frozen=True):
    """Which posts, in which order."""

    sort: Sort
    words: str | None
    owner: int | None

    @property
    def purpose(self) -> str:
        """What a cursor of this list is sealed with."""
        return msgspec.json.encode(("posts", self.sort, self.words, self.owner)).decode()

    @property
    def filters(self) -> tuple[Any, ...]:
        return tuple(value for value in (self.words, self.owner) if value is not None)


async def rows_after(
    pool: Pool, reader: Caller | None, feed: Feed, after: Sequence[Any], snapshot: str | None, count: int
) -> list[asyncpg.Record]:
    """At most ``count`` posts of a list that come after a sort key."""
    who = (reader.user_id, reader.session_id) if reader else (None, None)
    options = {"reader": reader is not None, "owner": feed.owner is not None}
    if feed.words is not None and feed.sort is Sort.new and feed.owner is None:
        return await _search(pool, who, feed.words, after[0], count)
    query = list_query(feed.sort, **options) if feed.words is None else indexed(feed.sort, **options)
    key = tuple(after) if feed.sort is Sort.new else (*after, snapshot)
    rows: list[asyncpg.Record] = await pool.fetch(query, *who, count, *key, *feed.filters)
    return rows


async def _search(
    pool: Pool, who: tuple[int | None, int | None], words: str, below: int, count: int
) -> list[asyncpg.Record]:
    reader = who[0] is not None
    newest = await pool.fetchval("SELECT max(id)::bigint + 1 FROM posts") or 0
    below = min(below, newest)
    found: list[asyncpg.Record] = []
    width = _WINDOW
    while below > 0:
        least = max(below - width, 0)
        matches = await pool.fetch(window(reader=reader), *who, count - len(found), below, least, words)
        found += matches
        if len(found) >= count:
            break
        below, width = least, width * 2
        if len(matches) < _FEW:
            query = indexed(Sort.new, reader=reader, owner=False)
            found += await pool.fetch(query, *who, count - len(found), below, words)
            break
    return found


async def page(
    pool: Pool, cursors: Cursors, reader: Caller | None, feed: Feed, cursor: str | None, limit: int
) -> PageRow:
    """One page of a list; raises InvalidCursor, and TokenRefused for an ended session."""
    after: Sequence[Any] = _FIRST[feed.sort]
    snapshot = None
    if cursor is not None:
        *after, snapshot = cursors.read(feed.purpose, cursor)
    rows = await rows_after(pool, reader, feed, after, snapshot, limit + 1)
    if reader is not None and (not rows or not rows[0][9]):
        await alive(pool, reader)
    next_cursor = None
    if len(rows) > limit:
        del rows[limit:]
        last = rows[-1]
        next_cursor = cursors.write(feed.purpose, *last[10:-1], snapshot or last[-1])
    return PageRow([shaped(row) for row in rows], next_cursor)


router = APIRouter(tags=["posts"], route_class=Route)
_WORDS = Query(
    max_length=200,
    pattern=r"^[^\x00]*$",
    description='Words to search for, as web search engines take them: "a phrase", or, -not.',
    examples=["river bench"],
)
# A snapshot lists the transactions in flight, so this cursor can be longer than others.
_CURSOR = Query(
    max_length=8192,
    pattern=r"^[A-Za-z0-9_-]+$",
    description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
)


@router.get(
    "/posts",
    response_class=Response,
    responses={200: {"model": PostPage}, **UNCHANGED, **answers(InvalidCursor)},
)
async def list_posts(
    request: Request,
    reader: ReadingClaimant,
    sort: Annotated[Sort, Query(description="What comes first.")] = Sort.new,
    q: Annotated[str | None, _WORDS] = None,
    owner: Annotated[Reference | None, Query(description="Only posts of this person.")] = None,
    limit: Limit = 10,
    cursor: Annotated[str | None, _CURSOR] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Read a list of posts: everybody's published ones, and your own drafts."""
    del if_none_match  # declared here, read with the answer
    state = request.app.state
    found = await page(state.pool, state.cursors, reader, Feed(sort, q, owner), cursor, limit)
    return etags.respond(request, _encode(found), private=reader is not None)
