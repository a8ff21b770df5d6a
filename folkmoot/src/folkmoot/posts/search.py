"""Search: a page of a list's posts that match words, at a cost that has a bound whatever the words are.

No one plan finds the matches of every word fast. Walking along the list is fast for a common word, and for a
rare one it reads everything; the index on words (GIN) is fast for a rare one, and of a common one it gives
every match to be sorted. So the list is walked for some posts (WALKED), and where they have too few matches
the index is asked for the rest: they are few, then. What only looks so, as a phrase of common words that
nobody wrote, is found out after as many posts as the index may give (INDEXED), or after the time that the
index has to look into its lists of common words. Then the page has what the walk found, and where that is
nothing, the search is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from folkmoot.http.problems import Problem
from folkmoot.postgres.pool import transaction
from folkmoot.posts.list_queries import Sort, among, indexable, indexed, walked

if TYPE_CHECKING:
    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.postgres.pool import Pool

#: How long the index on words may take, in milliseconds; for a rare word it takes less than one.
INDEX_MILLISECONDS = 15


class SearchTooBroad(Problem):
    """Finding what the words ask for would take reading too many posts.

    They are in many posts, or say only what must not be in one, and the posts that come first do not match.
    Search for a rarer word as well, or fewer of them.
    """

    status, kind, title = 422, "search-too-broad", "The search is too broad"
    example = "Too many posts would have to be read for this search. Add a word that fewer posts have."


async def matching(
    pool: Pool,
    reader: Bearer | Anonymous,
    sort: Sort,
    filters: dict[str, Any],
    after: dict[str, Any],
    count: int,
) -> tuple[list[asyncpg.Record], bool]:
    """At most ``count`` matches that come after a sort key, and whether more may come after them.

    Raises SearchTooBroad, and TokenRefused for an ended session.
    """
    which = {"known": reader.known, "owner": filters["owner"] is not None}
    [walk] = await reader.ask(walked(sort, **which), **after, **filters, count=count) or [None]
    if walk is None:  # there is no session
        return [], False
    ids, more = walk["ids"], False
    if len(ids) < count and not walk["ended"]:
        tree = await indexable().value(pool, words=filters["words"])
        if not tree:
            return [], False
        found = None if tree == "T" else await _by_index(pool, reader, filters, tree)
        if found is None and not ids:
            raise SearchTooBroad
        ids, more = (ids, True) if found is None else (found, False)
    if not ids:
        return [], False
    return await reader.ask(among(sort, known=reader.known), **after, ids=ids, count=count), more


async def _by_index(
    pool: Pool, reader: Bearer | Anonymous, filters: dict[str, Any], tree: str
) -> list[int] | None:
    """All matches, or None where they are not to be had at a bounded cost."""
    statement = indexed(known=reader.known, owner=filters["owner"] is not None)
    try:
        async with transaction(pool) as connection:
            await connection.execute(f"SET LOCAL statement_timeout = {INDEX_MILLISECONDS}")
            rows = await reader.ask(statement, within=connection, **filters, tree=tree)
    except asyncpg.QueryCanceledError:
        return None
    return rows[0]["ids"] if rows else []
