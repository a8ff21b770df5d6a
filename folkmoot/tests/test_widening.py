"""Ids become bigint while people read, write and vote; nothing is lost on the way down and up again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Event
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command

from folkmoot.commands.recount import recount
from folkmoot.postgres import revisions
from test_migrations import Migrations, fill, fingerprint, migrations

if TYPE_CHECKING:
    from testing.cluster import Cluster

__all__ = ["migrations"]

#: Votes are counted from here on; ids are integer.
COUNTED = "9e07b3d4c615"
#: What the program of then does.
STATEMENTS = (
    "SELECT p.id, p.title, r.votes FROM posts p JOIN post_ranks r ON r.post_id = p.id WHERE p.id = %(post)s",
    "SELECT p.id FROM post_ranks r JOIN posts p ON p.id = r.post_id ORDER BY r.hot DESC, p.id DESC LIMIT 10",
    "INSERT INTO votes (user_id, post_id) VALUES (%(user)s, %(post)s) ON CONFLICT DO NOTHING",
    "DELETE FROM votes WHERE user_id = %(user)s AND post_id = %(post)s",
    "UPDATE posts SET content = content WHERE id = %(post)s AND owner_id = %(user)s",
    "INSERT INTO posts (title, content, owner_id) VALUES ('t', 'c', %(user)s)",
)
#: Posts whose number of votes is not how many they have.
MISCOUNTED = """
    SELECT post_id FROM post_ranks r WHERE votes <> (SELECT count(*) FROM votes v WHERE v.post_id = r.post_id)
"""
INTEGERS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
     WHERE table_schema = 'public' AND data_type = 'integer'
"""
ROWS = """
INSERT INTO users (email, password) SELECT n || '@example.org', '!' FROM generate_series(1, 100) n;
INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at)
SELECT id, '', '', now() + interval '1 hour' FROM users ORDER BY id;
INSERT INTO posts (title, content, owner_id)
SELECT 't ' || n, 'c', n % 100 + 1 FROM generate_series(1, 2000) n;
INSERT INTO votes (user_id, post_id)
SELECT n % 100 + 1, (n * 7) % 2000 + 1 FROM generate_series(1, 20000) n ON CONFLICT DO NOTHING;
"""


@pytest.mark.one_in(2)
def test_people_read_write_and_vote_while_ids_are_widened_and_narrowed(
    cluster18: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster18.url(cluster18.create_database())
    monkeypatch.setenv("DATABASE_URL", url)
    config = revisions.config()
    command.upgrade(config, COUNTED)
    migrated = Event()

    def go_on(seed: int) -> int:
        random, done = Random(seed), 0
        with psycopg.connect(url, autocommit=True, prepare_threshold=None) as person:
            while not migrated.is_set():
                values = {"user": random.randint(1, 100), "post": random.randint(1, 2000)}
                person.execute(random.choice(STATEMENTS), values)
                done += 1
        return done

    # Nothing prepared: this connection outlives changes of the types that it selects.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(ROWS)
        with ThreadPoolExecutor(2) as executor:
            going = [executor.submit(go_on, seed) for seed in range(2)]
            try:
                command.upgrade(config, "d2c61f0ab873")
                assert connection.execute(MISCOUNTED).fetchall() == []
                command.downgrade(config, COUNTED)
            finally:
                migrated.set()
            assert min(each.result() for each in going) > 50
        command.upgrade(config, "head")
        assert recount(connection, repair=False) == []


def test_every_id_is_bigint_and_so_is_its_sequence(migrations: Migrations) -> None:
    migrations.upgrade("c47ecbf163d4")
    fill(migrations, users=20, posts=50, votes=100)
    migrations.upgrade("head")
    with migrations.connect() as connection:
        found = connection.execute(INTEGERS + " ORDER BY 1, 2").fetchall()
        assert [row[:2] for row in found] == [
            ("comments", "version"), ("comments", "votes"), ("login_failures", "failures"),
            ("outbox", "attempts"), ("post_ranks", "comments"), ("post_ranks", "votes"),
            ("posts", "version"), ("request_counts", "requests"),
        ]  # fmt: skip
        for table in ("users", "posts"):
            connection.execute(f"SELECT setval('{table}_id_seq', 2147483647)")
        user, post = (
            connection.execute(statement).fetchone()
            for statement in (
                "INSERT INTO users (email, password) VALUES ('far', '!') RETURNING id",
                "INSERT INTO posts (title, content, owner_id) VALUES ('far', '', 2147483648) RETURNING id",
            )
        )
        assert user == post == (2147483648,)
        connection.execute("INSERT INTO votes VALUES (2147483648, 2147483648)")
        assert recount(connection, repair=False) == []
    with pytest.raises(Exception, match="MAXVALUE"):
        migrations.downgrade("9e07b3d4c615")


@pytest.mark.one_in(3)
def test_the_owner_of_the_database_who_is_no_superuser_can_migrate(
    cluster18: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = cluster18
    name = cluster.create_database()
    with cluster.connect() as connection:
        connection.execute("CREATE ROLE moot LOGIN")
        connection.execute(f"ALTER DATABASE {name} OWNER TO moot".encode())
    url = cluster.url(name).replace("postgres@", "moot@")
    monkeypatch.setenv("DATABASE_URL", url)
    config = revisions.config()
    command.upgrade(config, COUNTED)
    # Nothing prepared: this connection outlives changes of the types that it selects.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(ROWS)
        command.upgrade(config, "head")
        assert recount(connection, repair=False) == []
        command.downgrade(config, "base")
        command.upgrade(config, "head")
        assert recount(connection, repair=False) == []
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (100,)
    cluster.drop_database(name)
    with cluster.connect() as connection:
        connection.execute("DROP ROLE moot")


WRITTEN = """
UPDATE users SET phone_number = '+4420' || id, display_name = 'Person ' || id WHERE id % 3 > 0;
INSERT INTO users (email, password) VALUES ('twin@example.com', '!');
UPDATE users SET email = 'TWIN@example.com', duplicate_email = TRUE WHERE id = 7;
UPDATE posts SET content = 'edited', version = 5 WHERE id % 5 = 0;
INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at, client)
SELECT id, sha256(email::bytea), 'r', now(), '::1' FROM users;
INSERT INTO login_failures VALUES ('key', 3, now());
INSERT INTO comments (post_id, owner_id, content)
SELECT id, 1 + id % 40, 'said ' || id FROM posts WHERE 1 + id % 40 <> 12;
INSERT INTO comments (post_id, parent_id, owner_id, content)
SELECT post_id, id, owner_id, 'answered ' || id FROM comments WHERE id % 3 = 0;
UPDATE comments SET owner_id = NULL WHERE id % 5 = 0;
INSERT INTO comment_votes
SELECT owner_id, post_id, id FROM comments WHERE id % 2 = 0 AND owner_id IS NOT NULL;
"""
#: All but what is derived from it, by table; the rows of deleted people and posts, and added ones, left out.
_POSTS = """id
    FROM posts WHERE id NOT IN (20, 30) AND title NOT LIKE 'new%' AND owner_id <> 12
     AND owner_id NOT IN (SELECT id FROM users WHERE email LIKE 'nobody%')
"""
KEPT = {
    "users": "SELECT * FROM users WHERE id <> 12 AND email NOT LIKE 'new%' AND email NOT LIKE 'nobody%'",
    "posts": "SELECT title, content, owner_id, published, created_at, version, document, " + _POSTS,
    "votes": "SELECT user_id, post_id FROM votes WHERE user_id <> 12 AND post_id IN (SELECT " + _POSTS + ")",
    "sessions": "SELECT * FROM sessions WHERE user_id <> 12",
    "login_failures": "SELECT * FROM login_failures",
    "comments": "SELECT * FROM comments WHERE post_id IN (SELECT " + _POSTS + ")",
    "comment_votes": "SELECT * FROM comment_votes WHERE post_id IN (SELECT " + _POSTS + ")",
}


def everything(migrations: Migrations) -> dict[str, list[tuple[object, ...]]]:
    with migrations.connect() as connection:
        return {
            table: connection.execute(f"SELECT to_jsonb(t)::text FROM ({query}) t ORDER BY 1").fetchall()
            for table, query in KEPT.items()
        }


@pytest.mark.one_in(3)
def test_base_and_back_loses_no_row_and_no_value(migrations: Migrations) -> None:
    migrations.upgrade("head")
    fill(migrations, users=40, posts=200, votes=2000)
    with migrations.connect() as connection:
        connection.execute(WRITTEN)
    before, catalog, guide = everything(migrations), migrations.catalog(), fingerprint(migrations)
    for _ in range(2):
        migrations.downgrade("base")
        migrations.upgrade("head")
        assert everything(migrations) == before
        assert fingerprint(migrations) == guide
        with migrations.connect() as connection:
            assert recount(connection, repair=False) == []
            assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)
    # The columns whose type changed are the last ones of their tables, whatever was there before.
    assert sorted(migrations.catalog().replace(",\n", "\n").split("\n")) == sorted(
        catalog.replace(",\n", "\n").split("\n")
    )


def test_base_and_back_loses_only_what_was_deleted_meanwhile(migrations: Migrations) -> None:
    migrations.upgrade("head")
    fill(migrations, users=40, posts=200, votes=2000)
    with migrations.connect() as connection:
        connection.execute(WRITTEN)
    before = everything(migrations)
    migrations.downgrade("c47ecbf163d4")
    with migrations.connect() as connection:
        connection.execute("INSERT INTO users (email, password) VALUES ('new1', '!')")
        connection.execute("INSERT INTO posts (title, content, owner_id) VALUES ('new1', '', 1)")
        connection.execute("DELETE FROM posts WHERE id = 20")
    migrations.downgrade("8c82b1632f52")
    with migrations.connect() as connection:
        connection.execute("DELETE FROM users WHERE id = 12")  # whose posts have no owner now
        connection.execute("INSERT INTO users (email, password) VALUES ('new2', '!')")
    migrations.downgrade("cfcc4fd02d18")
    with migrations.connect() as connection:
        connection.execute("DELETE FROM posts WHERE id = 30")
        connection.execute("INSERT INTO posts (title) VALUES ('new2')")
    migrations.upgrade("head")
    assert everything(migrations) == before
    with migrations.connect() as connection:
        assert recount(connection, repair=False) == []
        added = connection.execute(
            "SELECT title, email FROM posts JOIN users ON users.id = owner_id WHERE title LIKE 'new%' "
            "ORDER BY title"
        ).fetchall()
        emails = connection.execute("SELECT email FROM users WHERE email LIKE 'new%' ORDER BY 1").fetchall()
    assert added == [("new1", "user1@example.com"), ("new2", "nobody@folkmoot.invalid")]
    assert emails == [("new1",), ("new2",)]
