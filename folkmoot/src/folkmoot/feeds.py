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

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from folkmoot import conditions
from folkmoot.conditions import IfNoneMatch  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.contract import MAX_ID, InvalidCursor, Limit, Reference, answers
from folkmoot.database import Route
from folkmoot.posts import COLUMNS, JOINED, UNCHANGED, VISIBLE, Post, PostRow, shaped
from folkmoot.sessions import NOTED, Caller, ReadingClaimant, alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from folkmoot.contract import Cursors
    from folkmoot.database import Pool


class Sort(StrEnum):
    """What comes first."""

    new = "new"
    top = "top"
    hot = "hot"


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

# A page is cut with two limits. Behind a limit that is a parameter the planner expects a tenth of the rows,
# and joins whole tables; so a constant tells it that there are few, and the parameter stops earlier.
_MOST = 101


def _branches(select: str, table: str, where: str, order: str, *, reader: bool) -> str:
    """The posts of VISIBLE in order, from indexes in that order: the published ones and one's own drafts."""
    chosen, ordered = f"SELECT {select} FROM {table} AS c", f"ORDER BY {order} LIMIT {_MOST}"
    published = f"({chosen} WHERE published AND {where} {ordered})"
    drafts = f"({chosen} WHERE NOT published AND owner_id = $1::bigint AND {where} {ordered})"
    return f"({published} UNION ALL {drafts})" if reader else published


def _page(keys: str, candidates: str, order: str, *, reader: bool, more: str = "NULL::text") -> str:
    """The posts of the candidates; $1 person, $2 session, $3 how many.

    Each row ends with whether the session's use is noted, the sort key, and ``more``.
    """
    session = (
        f"SELECT {NOTED} AS noted FROM sessions WHERE id = $2 AND user_id = $1::bigint AND expires_at > now()"
    )
    nobody = "SELECT TRUE AS noted WHERE $2::bigint IS NULL"
    ordered = ", ".join(f"k.{key} DESC" for key in keys.split(", "))
    return f"""
        SELECT {COLUMNS}, s.noted, {", ".join(f"k.{key}" for key in keys.split(", "))}, {more}
          FROM ({session if reader else nobody}) AS s
         CROSS JOIN (SELECT {keys} FROM {candidates} AS b ORDER BY {order} LIMIT $3) AS k
          JOIN posts AS p ON p.id = k.id JOIN post_ranks AS r ON r.post_id = p.id {JOINED}
         WHERE {VISIBLE}
         ORDER BY {ordered}
    """


@cache
def list_query(sort: Sort, *, reader: bool, owner: bool) -> str:
    """$4… the key after which the page begins, then for top and hot the snapshot, then the owner."""
    if sort is Sort.new:
        where = "id < $4::bigint" + (" AND owner_id = $5::bigint" if owner else "")
        candidates = _branches("id", "posts", where, "id DESC", reader=reader)
        return _page("id", candidates, "id DESC", reader=reader)
    key, kind = ("votes", "int") if sort is Sort.top else ("hot", "float8")
    where = f"({key}, post_id) < ($4::{kind}, $5::bigint) AND {_STEADY}"
    where += " AND owner_id = $7::bigint" if owner else ""
    select = f"post_id AS id, {key}"
    candidates = _branches(select, "post_ranks", where, f"{key} DESC, post_id DESC", reader=reader)
    return _page(f"{key}, id", candidates, f"{key} DESC, id DESC", reader=reader, more=_SNAPSHOT)


_SNAPSHOT = "(SELECT pg_current_snapshot()::text)"
# Null where the number never fell. A transaction from beyond the current ones is of the server that a dump
# was made on.
_STEADY = """(fell IS NULL OR $6::text IS NULL
    OR pg_visible_in_snapshot(fell::text::xid8, $6::text::pg_snapshot)
    OR fell::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()))"""
_MATCHES = "document @@ websearch_to_tsquery(post_search_language(), {q})"


@cache
def _window(*, reader: bool) -> str:
    """Matches among a window of ids: $4 below this id, $5 and from this one on, $6 words."""
    where = f"id < $4::bigint AND id >= $5::bigint AND {_MATCHES.format(q='$6::text')}"
    candidates = _branches("id", "posts", where, "id DESC", reader=reader)
    return _page("id", candidates, "id DESC", reader=reader)


@cache
def _indexed(sort: Sort, *, reader: bool, owner: bool) -> str:
    """Matches from the index on words, sorted: parameters as of `list_query`, the words before the owner."""
    words, whose = ("$5", "$6") if sort is Sort.new else ("$7", "$8")
    who = "(c.published OR c.owner_id = $1::bigint)" if reader else "c.published"
    where = f"{_MATCHES.format(q=f'{words}::text')} AND {who}"
    where += f" AND c.owner_id = {whose}::bigint" if owner else ""
    # OFFSET 0 keeps the order and the limit out of it, for which the planner would walk; + 0 the ids' index.
    hits = f"SELECT c.id FROM posts AS c WHERE {where}"
    if sort is Sort.new:
        candidates = f"({hits} AND c.id + 0 < $4::bigint OFFSET 0)"
        return _page("id", candidates, "id DESC", reader=reader)
    key, kind = ("votes", "int") if sort is Sort.top else ("hot", "float8")
    candidates = f"""(
        SELECT h.id, c.{key} FROM ({hits} OFFSET 0) AS h JOIN post_ranks AS c ON c.post_id = h.id
         WHERE (c.{key}, c.post_id) < ($4::{kind}, $5::bigint) AND {_STEADY})"""
    return _page(f"{key}, id", candidates, f"{key} DESC, id DESC", reader=reader, more=_SNAPSHOT)


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
    query = list_query(feed.sort, **options) if feed.words is None else _indexed(feed.sort, **options)
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
        matches = await pool.fetch(_window(reader=reader), *who, count - len(found), below, least, words)
        found += matches
        if len(found) >= count:
            break
        below, width = least, width * 2
        if len(matches) < _FEW:
            query = _indexed(Sort.new, reader=reader, owner=False)
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
    return conditions.respond(request, _encode(found), private=reader is not None)
