"""Search: a page of a list's posts that match words, at a cost that has a bound whatever the words are.

No one plan finds the matches of every word fast. The index on words (GIN) is fast for a rare one, and of a
common one it gives every match to be sorted; walking along the list is fast for a common word, and for a rare
one it reads everything. Which word is common is known (`word_counts`): where the index has few posts to read
and to offer, it is asked; otherwise the list is walked, for some posts (WALKED). Where it turns out to have
more than expected (INDEXED), as of words that come together, the list is walked for a quarter of them. Then
the page has what the walk found, and where that is nothing, the search is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from folkmoot.http.problems import Problem
from folkmoot.posts.list_queries import INDEXED, Sort, among, indexable, indexed, walked
from folkmoot.posts.word_counts import KnownWords

if TYPE_CHECKING:
    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.postgres.pool import Pool

#: How many posts the index on words may read of its words' lists, together.
READ = 10_000
#: How long the index on words may take, in milliseconds, should the counts be wrong; usually it takes one.
INDEX_MILLISECONDS = 100


class SearchTooBroad(Problem):
    """Finding what the words ask for would take reading too many posts.

    They are in many posts, or say only what must not be in one, and the posts that come first do not match.
    Search for a rarer word as well, or fewer of them.
    """

    status, kind, title = 422, "search-too-broad", "The search is too broad"
    example = "Too many posts would have to be read for this search. Add a word that fewer posts have."


class Search:
    """Searches the posts of a database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._words = KnownWords(pool)

    async def matching(
        self,
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
        tree = await indexable().value(self._pool, words=filters["words"])
        found: list[int] | None = None if tree else []
        cheapest = None
        if tree and tree != "T":
            cheapest = (await self._words.counts()).cheapest(tree, read=READ, found=INDEXED[sort])
        if cheapest:
            found = await self._by_index(reader, indexed(sort, **which), tree=cheapest, **filters)
        if found is not None:
            ids, more = found, False
        else:
            statement = walked(sort, **which, some=cheapest is not None)
            [walk] = await reader.ask(statement, **after, **filters, count=count) or [
                {"ids": [], "ended": True}
            ]
            ids = [each for each in walk["ids"] if each is not None]
            cut = len(ids) < len(walk["ids"])
            more = len(ids) < count and (cut or not walk["ended"])
            if more and not ids:
                raise SearchTooBroad
        if not ids and not reader.known:
            return [], False
        return await reader.ask(among(sort, known=reader.known), **after, ids=ids, count=count), more

    async def _by_index(self, reader: Bearer | Anonymous, statement: Any, **values: Any) -> list[int] | None:
        """All matches, or None where they are not to be had at a bounded cost."""
        try:
            rows = await reader.ask(statement, milliseconds=INDEX_MILLISECONDS, **values)
        except asyncpg.QueryCanceledError:
            return None
        return rows[0]["ids"] if rows else []
