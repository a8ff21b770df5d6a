"""In how many posts each common word is, as PostgreSQL's ANALYZE last found; and what a search costs by that.

It keeps the words that most of its sample has (10,000 of them, see revision `count words`) in `pg_stats`. A
word that is not among them is in fewer posts than each that is, and counts as rare here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from folkmoot.postgres.pool import Pool

#: How long they are used before they are read again, in seconds: they change as slowly as a language does.
_KEPT = 600.0
_READ = """
    SELECT reltuples AS posts, most_common_elems::text::text[] AS words, most_common_elem_freqs AS shares
      FROM pg_class AS c LEFT JOIN pg_stats AS s
           ON s.schemaname = c.relnamespace::regnamespace::text AND s.tablename = c.relname
              AND s.attname = 'document'
     WHERE c.oid = 'posts'::regclass
"""
_WORD = re.compile(r"'((?:[^'\\]|''|\\\\)*)'")


@dataclass(frozen=True)
class WordCounts:
    """How many posts there are, and the share of them that has each of the common words."""

    posts: float
    shares: Mapping[str, float]

    def cheapest(self, tree: str, *, read: int, found: int) -> str | None:
        """What to ask the index on words for, so that it reads and finds so many posts; None where it can't.

        `tree` is what has to be found: words, joined by & and then by |. Of words that have to be there
        together, all matches are among those of the rarest: the index is asked for these, and for the next
        ones only where that would be too many. The words of a phrase come together by no chance, so this is
        an estimate.
        """
        asked = []
        for alternative in tree.split(" | "):
            words = alternative.split(" & ")
            if not all(map(_WORD.fullmatch, words)):  # of a dictionary that has several words for one
                return tree
            words.sort(key=self._share)
            taken: list[str] = []
            while not taken or self._posts(taken) > found:
                if len(taken) == len(words):
                    return None
                taken.append(words[len(taken)])
                read -= round(self.posts * self._share(taken[-1]))
                if read < 0:
                    return None
            found -= round(self._posts(taken))
            asked.append(" & ".join(taken))
        return " | ".join(asked)

    def _share(self, word: str) -> float:
        return self.shares.get(word[1:-1].replace("''", "'").replace("\\\\", "\\"), 0.0)

    def _posts(self, words: list[str]) -> float:
        return self.posts * prod(map(self._share, words))


class KnownWords:
    """The counts of a database, read again from time to time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counts = WordCounts(0, {})
        self._until = 0.0

    async def counts(self) -> WordCounts:
        if monotonic() > self._until:
            self._until = monotonic() + _KEPT  # so that one request reads them, and none waits for it
            row = await self._pool.fetchrow(_READ)
            shares = dict(zip(row["words"] or (), row["shares"] or (), strict=False))
            self._counts = WordCounts(max(row["posts"], 0), shares)
        return self._counts
