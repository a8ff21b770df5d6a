"""The SQL of lists of posts."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from folkmoot.people.caller import NOTED
from folkmoot.posts.posts import COLUMNS, JOINED, VISIBLE


class Sort(StrEnum):
    """What comes first."""

    new = "new"
    top = "top"
    hot = "hot"


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
def window(*, reader: bool) -> str:
    """Matches among a window of ids: $4 below this id, $5 and from this one on, $6 words."""
    where = f"id < $4::bigint AND id >= $5::bigint AND {_MATCHES.format(q='$6::text')}"
    candidates = _branches("id", "posts", where, "id DESC", reader=reader)
    return _page("id", candidates, "id DESC", reader=reader)


@cache
def indexed(sort: Sort, *, reader: bool, owner: bool) -> str:
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
