"""The SQL of lists of posts.

Each statement finds candidates, at most `:count` that come after a sort key, and then their posts. It is
asked by `:person` with `:session` (see `people.caller`). The sort key is `:id`, in lists by rank with
`:votes` or `:hot` and the `:snapshot` in which paging began. The filters are `:words` and `:owner`; a window
of a search goes down to `:least`.
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
    #: Whether `c` comes after where the page begins.
    after: str
    #: What has to be remembered from the first page on.
    snapshot: str

    @property
    def columns(self) -> str:
        return ", ".join(f"c.{self.post} AS id" if name == "id" else f"c.{name}" for name in self.key)

    def by(self, prefix: str = "") -> str:
        """ORDER BY, where there are the columns of the key."""
        return ", ".join(f"{prefix}{name} DESC" for name in self.key)


def _by_rank(name: str, kind: str) -> Order:
    return Order(
        table="post_ranks",
        post="post_id",
        key=(name, "id"),
        after=f"(c.{name}, c.post_id) < (CAST(:{name} AS {kind}), CAST(:id AS bigint)) AND {_STEADY}",
        snapshot="(SELECT pg_current_snapshot()::text)",
    )


ORDERS = {
    Sort.new: Order(
        table="posts", post="id", key=("id",), after="c.id < CAST(:id AS bigint)", snapshot="NULL::text"
    ),
    Sort.top: _by_rank("votes", "int"),
    Sort.hot: _by_rank("hot", "float8"),
}
_MINE = "c.owner_id = CAST(:person AS bigint)"
_OF_OWNER = "c.owner_id = CAST(:owner AS bigint)"
_MATCHES = "c.document @@ websearch_to_tsquery(post_search_language(), CAST(:words AS text))"
# A page is cut with two limits. Behind a limit that is a parameter the planner expects a tenth of the rows,
# and joins whole tables; so a constant tells it that there are few, and the parameter stops earlier.
_MOST = 101


@cache
def in_order(sort: Sort, *, known: bool, owner: bool) -> Statement:
    """A page of a list: walked along the index in its order."""
    order = ORDERS[sort]
    conditions = (order.after, _OF_OWNER) if owner else (order.after,)
    return _page(order, _visible(order, *conditions, known=known), known=known)


@cache
def window(*, known: bool) -> Statement:
    """Matches among the newest posts, down to `:least`: each looked at, in the order of `new`."""
    order = ORDERS[Sort.new]
    conditions = order.after, "c.id >= CAST(:least AS bigint)", _MATCHES
    return _page(order, _visible(order, *conditions, known=known), known=known)


@cache
def matches(sort: Sort, *, known: bool, owner: bool) -> Statement:
    """A page of all matches: found by the index on words, and then sorted."""
    order = ORDERS[sort]
    conditions = [_MATCHES, f"(c.published OR {_MINE})" if known else "c.published"]
    if owner:
        conditions.append(_OF_OWNER)
    # OFFSET 0 keeps the order and the limit out of it, for which the planner would walk; + 0 the ids' index.
    if sort is Sort.new:
        conditions.append("c.id + 0 < CAST(:id AS bigint)")
    hits = f"SELECT c.id FROM posts AS c WHERE {' AND '.join(conditions)} OFFSET 0"
    if sort is not Sort.new:
        hits = f"""
            SELECT {order.columns} FROM ({hits}) AS h JOIN post_ranks AS c ON c.post_id = h.id
             WHERE {order.after}
        """
    return _page(order, hits, known=known)


def _visible(order: Order, *conditions: str, known: bool) -> str:
    """What one may see, from indexes in that order: the published posts, and one's own drafts."""
    published = _along_index(order, "c.published", *conditions)
    drafts = _along_index(order, "NOT c.published", _MINE, *conditions)
    return f"({published}) UNION ALL ({drafts})" if known else published


def _along_index(order: Order, *conditions: str) -> str:
    return f"""
        SELECT {order.columns} FROM {order.table} AS c WHERE {" AND ".join(conditions)}
         ORDER BY {order.by()} LIMIT {_MOST}
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
