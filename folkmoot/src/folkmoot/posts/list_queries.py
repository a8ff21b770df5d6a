"""The SQL of lists of posts.

Each statement finds candidates, at most `:count` that come after a sort key, and then their posts. It is
asked by `:person` with `:session` (see `people.caller`). The sort key is `:id`, in lists by rank with
`:votes` or `:hot` and the `:snapshot` in which paging began. The filters are `:owner` and, of a search,
`:words`; `:tree` is what the index on words is asked for them. A search finds `:ids` first, and then posts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from folkmoot.people.caller import NOBODY, SESSION
from folkmoot.postgres.statement import Statement
from folkmoot.posts.posts import COLUMNS, JOINED, VISIBLE


class Sort(StrEnum):
    """What comes first."""

    new = "new"
    top = "top"
    hot = "hot"


class Which(StrEnum):
    """Which of the posts that one may see."""

    both = "both"
    published = "published"
    drafts = "drafts"


# Null where the number never fell. A transaction from beyond the current ones is of the server that a dump
# was made on.
_STEADY = """(
    c.fell IS NULL OR CAST(:snapshot AS text) IS NULL
    OR pg_visible_in_snapshot(c.fell::text::xid8, CAST(CAST(:snapshot AS text) AS pg_snapshot))
    OR c.fell::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
)"""


@dataclass(frozen=True)
class Order:
    """An order of posts: a table `c` that has indexes in it, and the sort key."""

    table: str
    #: The table's column of the post's id.
    post: str
    #: The columns of the sort key, each falling; the parameters that say where a page begins are their names.
    key: tuple[str, ...]
    #: Where the page begins, for each column of the sort key.
    begins: tuple[str, ...]
    #: What else `c` must fulfil to come after it.
    steady: str
    #: What has to be remembered from the first page on.
    snapshot: str
    #: The posts of `:ids`, as `c`.
    among: str

    @property
    def columns(self) -> str:
        return ", ".join(f"c.{self.post} AS id" if name == "id" else f"c.{name}" for name in self.key)

    @property
    def after(self) -> str:
        """Whether `c` comes after where the page begins."""
        return f"{self.within()} AND {self.steady}"

    def within(self, *, owner: str = "", published: str = "") -> str:
        """The same but for `steady`; among an owner's posts that are published or drafts, if one is named.

        As ranges of whole keys, and not as equalities: so only the index on exactly these columns is of use.
        Of equal owners the planner expects as few posts as most people have, and would sort all of somebody's
        who has many, or look for those of few among everybody's.
        """
        columns = [f"c.{self.post if name == 'id' else name}" for name in self.key]
        if not owner:
            return f"({', '.join(columns)}) < ({', '.join(self.begins)})"
        whose = f"{owner}, {published}"
        return (
            f"(c.owner_id, c.published, {', '.join(columns)}) < ({whose}, {', '.join(self.begins)}) "
            f"AND (c.owner_id, c.published) >= ({whose})"
        )

    def by(self, prefix: str = "") -> str:
        """ORDER BY, where there are the columns of the key."""
        return ", ".join(f"{prefix}{name} DESC" for name in self.key)


def _by_rank(name: str, kind: str) -> Order:
    return Order(
        table="post_ranks",
        post="post_id",
        key=(name, "id"),
        begins=(f"CAST(:{name} AS {kind})", "CAST(:id AS bigint)"),
        steady=_STEADY,
        snapshot="(SELECT pg_current_snapshot()::text)",
        among="post_ranks AS c WHERE c.post_id = ANY (CAST(:ids AS bigint[])) AND",
    )


ORDERS = {
    Sort.new: Order(
        table="posts", post="id", key=("id",), begins=("CAST(:id AS bigint)",), steady="TRUE",
        snapshot="NULL::text", among="unnest(CAST(:ids AS bigint[])) AS c(id) WHERE",
    ),
    Sort.top: _by_rank("votes", "int"),
    Sort.hot: _by_rank("hot", "float8"),
}  # fmt: skip
_PERSON, _OWNER = "CAST(:person AS bigint)", "CAST(:owner AS bigint)"
_QUERY = "websearch_to_tsquery(post_search_language(), CAST(:words AS text))"
# In a SELECT, the words are parsed once and not for each post.
_MATCHES = f"c.document @@ (SELECT {_QUERY})"
#: How many posts of a list a search looks at, one after another. The newest lie side by side; those with the
#: most votes lie anywhere, and each of them takes as long as four of the newest; the hottest are new, too.
WALKED = {Sort.new: 850, Sort.top: 300, Sort.hot: 400}
#: How many posts a search takes from the index on words; each has to be looked up again to be ranked.
INDEXED = {Sort.new: 750, Sort.top: 250, Sort.hot: 250}
#: How many bytes of long posts' words a search reads, in each of these ways. A match is found by reading a
#: post's words whole: ORDINARY bytes lie in the row and cost as much as the row, what is more lies elsewhere.
LONG, ORDINARY = 1_000_000, 2000
_READ = f"sum(greatest(pg_column_size({{}}.document) - {ORDINARY}, 0))"
# A page is cut with two limits. Behind a limit that is a parameter the planner expects a tenth of the rows,
# and joins whole tables; so a constant tells it that there are few, and the parameter stops earlier.
_MOST = 101


@cache
def in_order(sort: Sort, *, known: bool, owner: bool, which: Which = Which.both) -> Statement:
    """A page of a list: walked along the index in its order."""
    order = ORDERS[sort]
    return _page(order, _visible(order, known=known, owner=owner, which=which), known=known)


@cache
def indexable() -> Statement:
    """What the index on words can look for: a condition that all matches fulfil, and others may.

    It has no negations, and words where there were phrases: the index knows neither where a word stands nor
    what is missing. Empty where there are no words, and T where nothing is left that could be looked for.
    """
    return Statement(f"""
        SELECT regexp_replace(querytree({_QUERY}), '<(-|[0-9]+)>', '&', 'g') AS tree
    """)


@cache
def walked(sort: Sort, *, known: bool, owner: bool, some: bool) -> Statement:
    """The `ids` of the first `:count` matches among the next WALKED posts of a list, each looked at; among a
    quarter of them where it is `some`, because the index was asked already. The last of the `ids` is null
    where long posts ended the walk.

    `ended` says whether the list has no more posts than these, where there are fewer matches.
    """
    order = ORDERS[sort]
    walked = WALKED[sort] // 4 if some else WALKED[sort]

    def listed(most: int) -> str:
        found = _visible(order, known=known, owner=owner, most=most)
        return f"SELECT * FROM ({found}) AS v ORDER BY {order.by()} LIMIT {most}"

    # OFFSET 0 has each post looked up: for so many the planner may read the whole table.
    return Statement(f"""
        SELECT s.noted, w.ids,
               CASE WHEN cardinality(w.ids) < :count
                    THEN NOT EXISTS (SELECT FROM ({listed(walked + 1)}) AS l OFFSET {walked}) END AS ended
          FROM ({SESSION if known else NOBODY}) AS s
         CROSS JOIN (SELECT coalesce(array_agg(f.id), '{{}}') AS ids FROM (
               SELECT CASE WHEN c.read <= {LONG} THEN c.id END AS id FROM (
                      SELECT l.*, d.document, {_READ.format("d")} OVER
                             (ORDER BY {order.by("l.")} ROWS UNBOUNDED PRECEDING) AS read
                        FROM ({listed(walked)}) AS l
                       CROSS JOIN LATERAL (SELECT p.document FROM posts AS p WHERE p.id = l.id OFFSET 0) AS d
                      ) AS c
                WHERE (c.read <= {LONG} AND {_MATCHES})
                   OR (c.read > {LONG} AND c.read - pg_column_size(c.document) + {ORDINARY} <= {LONG})
                ORDER BY {order.by("c.")} LIMIT :count
               ) AS f) AS w
    """)


@cache
def indexed(sort: Sort, *, known: bool, owner: bool) -> Statement:
    """The `ids` of all matches, found by the index on words; null where it has more than INDEXED to offer, or
    where those are too long.
    """
    most = INDEXED[sort]
    conditions = [
        f"c.read <= {LONG}",
        _MATCHES,
        f"(c.published OR c.owner_id = {_PERSON})" if known else "c.published",
    ]
    if owner:
        conditions.append(f"c.owner_id = {_OWNER}")
    # Apart, so that the planner sees no limit, for which it would read the table; it still ends there.
    return Statement(f"""
          WITH offered AS MATERIALIZED (
               SELECT p.id, p.document, p.published, p.owner_id FROM posts AS p
                WHERE p.document @@ CAST(CAST(:tree AS text) AS tsquery))
        SELECT s.noted, w.ids FROM ({SESSION if known else NOBODY}) AS s CROSS JOIN (
               SELECT CASE WHEN count(*) <= {most} AND coalesce(max(c.read), 0) <= {LONG}
                           THEN coalesce(array_agg(c.id) FILTER (WHERE {" AND ".join(conditions)}), '{{}}')
                      END AS ids
                 FROM (SELECT *, {_READ.format("o")} OVER (ROWS UNBOUNDED PRECEDING) AS read
                         FROM (SELECT * FROM offered LIMIT {most + 1}) AS o) AS c
               ) AS w
    """)


@cache
def among(sort: Sort, *, known: bool) -> Statement:
    """A page of a list that has the posts of `:ids` alone."""
    order = ORDERS[sort]
    candidates = f"""
        SELECT {order.columns} FROM {order.among} {order.after}
    """
    return _page(order, candidates, known=known)


def _visible(order: Order, *, known: bool, owner: bool, most: int = _MOST, which: Which = Which.both) -> str:
    """What one may see, from indexes in that order: the published posts, and one's own drafts."""
    published = _along_index(
        order, "c.published", order.within(owner=_OWNER, published="TRUE") if owner else order.within(),
        whose=owner, most=most,
    )  # fmt: skip
    mine = order.within(owner=_PERSON, published="FALSE")
    only = f"{_PERSON} = {_OWNER}" if owner else "TRUE"
    drafts = _along_index(order, "NOT c.published", mine, only, whose=True, most=most)
    if which is Which.drafts:
        return drafts
    return f"({published}) UNION ALL ({drafts})" if known and which is Which.both else published


def _along_index(order: Order, *conditions: str, whose: bool, most: int) -> str:
    index = "c.owner_id DESC, c.published DESC, " if whose else ""
    key = ", ".join(f"c.{order.post if name == 'id' else name} DESC" for name in order.key)
    return f"""
        SELECT {order.columns} FROM {order.table} AS c
         WHERE {" AND ".join((*conditions, order.steady))} ORDER BY {index}{key} LIMIT {most}
    """


def _page(order: Order, candidates: str, *, known: bool) -> Statement:
    """The posts of the candidates, which have the columns of the sort key; it comes out as `key_…`."""
    names = ", ".join(order.key)
    key = ", ".join(f"k.{name} AS key_{name}" for name in order.key)
    return Statement(f"""
        SELECT {COLUMNS}, s.noted, {key}, {order.snapshot} AS snapshot
          FROM ({SESSION if known else NOBODY}) AS s
         CROSS JOIN (SELECT {names} FROM ({candidates}) AS b ORDER BY {order.by()} LIMIT :count) AS k
          JOIN posts AS p ON p.id = k.id JOIN post_ranks AS r ON r.post_id = p.id {JOINED}
         WHERE {VISIBLE}
         ORDER BY {order.by("k.")}
    """)
