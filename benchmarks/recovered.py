"""The database of `make prove-service`: its rows, what is compared of them, and the bars that were missed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic import command

from benchmarks import wal
from folkmoot.commands.recount import recount
from folkmoot.postgres import revisions

if TYPE_CHECKING:
    import psycopg

    from testing.cluster import Cluster

#: Segments of the WAL are used again: else commits wait for the disk while new ones are made.
SETTINGS = ("shared_buffers=1GB", "max_wal_size=4GB", "min_wal_size=4GB")

# Without triggers and keys, and in the order of the keys: what they would make is made here.
FILL = """
SET session_replication_role = replica;
INSERT INTO users (email, password, phone_number) SELECT 'person' || n || '@example.com', '!', '+' || n
  FROM generate_series(1, {users}) n;
INSERT INTO posts (title, content, owner_id, published, created_at, version, document)
SELECT 'Title ' || n, repeat('text ' || n || ' ', 5), n % {users} + 1, n % 10 <> 0,
       timestamptz '2024-01-01' + n * interval '1 minute', n % 3 + 1,
       post_document('Title ' || n, repeat('text ' || n || ' ', 5)) FROM generate_series(1, {posts}) n;
INSERT INTO votes (user_id, post_id)
SELECT u, (u * 7919::bigint + k * 9973::bigint) % {posts} + 1
  FROM generate_series(1, {users}) u, generate_series(1, {votes} / {users}) k ON CONFLICT DO NOTHING;
INSERT INTO comments (id, post_id, parent_id, path, owner_id, content, created_at, votes)
SELECT n, p, nullif(first, n), CASE n WHEN first THEN ARRAY[n] ELSE ARRAY[first, n] END, owner,
       CASE WHEN owner IS NULL THEN '' ELSE 'said ' || n END,
       timestamptz '2025-01-01' + n * interval '1 second', 0
  FROM (SELECT n, (n + 1) / 2 AS p, (n + 1) / 2 * 2 - 1 AS first,
               CASE WHEN n % 50 <> 1 THEN n * 31 % {users} + 1 END AS owner
          FROM generate_series(1::bigint, 2 * {posts}) n) c;
SELECT setval(pg_get_serial_sequence('comments', 'id'), 2 * {posts});
INSERT INTO comment_votes (user_id, post_id, comment_id)
SELECT (id * 7 + k) % {users} + 1, post_id, id FROM comments, generate_series(1, 2) k
 WHERE owner_id IS NOT NULL AND id % 3 > 0;
UPDATE comments SET votes = 2 WHERE owner_id IS NOT NULL AND id % 3 > 0;
INSERT INTO post_ranks (post_id, owner_id, published, created_at, votes, comments)
SELECT id, owner_id, published, created_at, coalesce(v.n, 0), coalesce(c.n, 0) FROM posts
  LEFT JOIN (SELECT post_id, count(*) AS n FROM votes GROUP BY post_id) v ON v.post_id = id
  LEFT JOIN (SELECT post_id, count(owner_id) AS n FROM comments GROUP BY post_id) c ON c.post_id = id;
INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at)
SELECT id, sha256(email::bytea), '', timestamptz '2099-01-01' FROM users WHERE id <= 1000 ORDER BY id;
RESET session_replication_role;
"""

#: What is compared, by table: all but what is added and deleted on the way, which is left out both times.
CHECKED = {
    "users": "SELECT id, email, password, created_at, phone_number, display_name, duplicate_email FROM users "
    "WHERE id <= {users} AND id % 1000 <> 7",
    "posts": "SELECT id, title, content, owner_id, published, created_at, version, document FROM posts "
    "WHERE id <= {posts} AND id % 1000 <> 3 AND (id % {users} + 1) % 1000 <> 7",
    "votes": "SELECT user_id, post_id FROM votes WHERE post_id <= {posts} AND post_id % 1000 <> 3 "
    "AND (post_id % {users} + 1) % 1000 <> 7 AND user_id % 1000 <> 7",
    "comments": "SELECT id, post_id, parent_id, path, owner_id, content, created_at, version FROM comments "
    "WHERE id <= 2 * {posts} AND {told} AND owner_id % 1000 <> 7",
    "comments of nobody": "SELECT id, post_id, path, content FROM comments "
    "WHERE id <= 2 * {posts} AND {told} AND id % 50 = 1 AND (2 * post_id * 31 % {users} + 1) % 1000 <> 7",
    "comment_votes": "SELECT user_id, post_id, comment_id FROM comment_votes "
    "WHERE comment_id <= 2 * {posts} AND {told} AND user_id % 1000 <> 7 "
    "AND (comment_id * 31 % {users} + 1) % 1000 <> 7",
    "sessions": "SELECT * FROM sessions WHERE user_id % 1000 <> 7",
}
#: Comments on posts that are neither deleted nor commented on meanwhile.
TOLD = "post_id % 1000 NOT IN (3, 5) AND (post_id % {users} + 1) % 1000 <> 7"
#: What is done at a low revision on the way down; the same people and posts are left out of the checksums.
MEANWHILE = {
    "e41b7f0c9a26": "INSERT INTO comments (post_id, owner_id, content) "
    "SELECT id, 1, 'new' FROM posts WHERE id % 1000 = 4; DELETE FROM comment_votes WHERE post_id % 1000 = 5;"
    "UPDATE comments SET owner_id = NULL WHERE post_id % 1000 = 5",
    "c47ecbf163d4": "INSERT INTO posts (title, content, owner_id) "
    "SELECT 'new', '', 1 FROM generate_series(1, 100); DELETE FROM votes WHERE post_id % 1000 = 3;"
    "INSERT INTO votes (user_id, post_id) SELECT 1, id FROM posts WHERE title = 'new'",
    "8c82b1632f52": "DELETE FROM users WHERE id % 1000 = 7;"
    "INSERT INTO users (email, password) SELECT 'new' || n, '!' FROM generate_series(1, 100) n",
    "cfcc4fd02d18": "DELETE FROM posts WHERE id % 1000 = 3; INSERT INTO posts (title) VALUES ('new too')",
}


@dataclass
class Run:
    """One database, its size, and the bars that were missed."""

    cluster: Cluster
    posts: int
    votes: int
    users: int
    missed: list[str] = field(default_factory=list)

    def fill(self) -> None:
        self.database = self.cluster.create_database()
        self.url = self.cluster.url(self.database)
        os.environ["DATABASE_URL"] = self.url
        command.upgrade(revisions.config(), "head")
        began = time.monotonic()
        with self.connect() as connection:
            connection.execute(FILL.format(**self.size).encode())
            connection.execute("VACUUM (ANALYZE)")
            wal.write_once(connection)
        print(
            f"filled in {time.monotonic() - began:.0f} s: {self.posts} posts, {self.votes} votes, "
            f"{2 * self.posts} comments",
            flush=True,
        )

    @property
    def size(self) -> dict[str, int]:
        return {"posts": self.posts, "votes": self.votes, "users": self.users}

    def connect(self) -> psycopg.Connection:
        return self.cluster.connect(self.database)

    def bar(self, what: str, *, kept: bool) -> None:
        print(f"{'ok    ' if kept else 'MISSED'} {what}", flush=True)
        if not kept:
            self.missed.append(what)

    def counts_are_exact(self) -> None:
        with self.connect() as connection:
            wrong = recount(connection, repair=False)
        self.bar(f"counts exact: {len(wrong)} posts differ", kept=not wrong)

    def checksums(self) -> dict[str, tuple[Any, ...]]:
        with self.connect() as connection:
            found = {}
            for table, query in CHECKED.items():
                text = f"SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM ({query}) t"
                text = text.replace("{told}", TOLD).format(**self.size)
                row = connection.execute(text.encode()).fetchone()
                found[table] = row or ()
        return found
