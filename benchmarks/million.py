"""Many posts made fast, whose words are as uneven as those of a language: for what searches cost.

The n-th most frequent of 100,000 words has a share of 1/n of the text (Zipf). Texts are put together from
pieces that are described once: what takes the time of a million posts is the index on words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.site import INDEXES, amounts

if TYPE_CHECKING:
    import psycopg

    from folkmoot.commands.made_up import Amounts

_WORDS = 100_000
#: As many pieces as there are: `id % _PIECES` picks one.
_PIECES = 50_000
_LETTERS = str.maketrans("0123456789abcdef", "aeioubdfklmnprst")

# `e ^ (random() * ln(n))` falls on k with a probability of 1/k, but for the first ones; these a language does
# not count. A text is short or long as it happens, 44 words on average.
_MAKE_PIECES = """
    CREATE UNLOGGED TABLE pieces (kind text, id int, text text, document tsvector, PRIMARY KEY (kind, id));
    SELECT setseed(0.5);
    INSERT INTO pieces
    SELECT kind, id, text, to_tsvector(post_search_language(), text)
      FROM (VALUES ('title', 6, 1), ('content', 4, 22)) AS kinds(kind, least, more)
     CROSS JOIN generate_series(0, {pieces} - 1) AS id
     CROSS JOIN LATERAL (
           SELECT string_agg(
                    translate(to_hex(5 + floor(exp(random() * ln({words})))::int),
                              '0123456789abcdef', 'aeioubdfklmnprst'), ' ') AS text
             FROM generate_series(1, least + least(floor(-ln(1 - random()) * more)::int, 500) + 0 * id)
           ) AS texts;
    ANALYZE pieces;
"""
# In the order of the ids, as posts come: each piece is looked up. No triggers: what they do is done here.
_MAKE_POSTS = """
    SET session_replication_role = replica;
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET max_parallel_workers_per_gather = 0;
    INSERT INTO posts (id, title, content, owner_id, published, created_at, document)
    SELECT n, t.text, a.text || ' ' || b.text,
           floor(exp((hashint8extended(n, 4) & 65535) / 65536.0 * ln({people})))::int, n % 50 <> 7,
           now() - make_interval(secs => ({posts} - n) * 30.0), t.document || a.document || b.document
      FROM generate_series(1, {posts}) AS n
      JOIN pieces AS t ON t.kind = 'title' AND t.id = (hashint8extended(n, 1) & 1048575) % {pieces}
      JOIN pieces AS a ON a.kind = 'content' AND a.id = (hashint8extended(n, 2) & 1048575) % {pieces}
      JOIN pieces AS b ON b.kind = 'content' AND b.id = (hashint8extended(n, 3) & 1048575) % {pieces};
    INSERT INTO post_ranks (post_id, owner_id, published, created_at, votes)
    SELECT id, owner_id, published, created_at,
           CASE WHEN published
                THEN power(1 - (hashint8extended(id, 5) & 65535) / 65536.0, -0.8)::int - 1 ELSE 0 END
      FROM posts ORDER BY id;
    SELECT setval(pg_get_serial_sequence('posts', 'id'), {posts});
    RESET ALL;
    DROP TABLE pieces;
"""


def word(rank: int) -> str:
    """The word that is in that place among the frequent ones."""
    return f"{rank + 4:x}".translate(_LETTERS)


def fill(connection: psycopg.Connection, rows: Amounts) -> None:
    """Make people and their posts, with made-up numbers of votes and no votes."""
    connection.execute(
        "INSERT INTO users (email, password, display_name) "
        "SELECT n || '@example.org', '!', 'Person ' || n FROM generate_series(1, %s) AS n",
        (rows.users,),
    )
    indexes = connection.execute(INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    numbers = {"posts": rows.posts, "people": rows.users, "pieces": _PIECES, "words": _WORDS}
    for made in (_MAKE_PIECES, _MAKE_POSTS):
        connection.execute(made.format(**numbers).encode())
    for _, definition in indexes:
        connection.execute(definition.encode())


def many(posts: int) -> Amounts:
    """Fewer people, and no votes."""
    usual = amounts(posts)
    return type(usual)(max(usual.users // 10, 100), posts, 0)
