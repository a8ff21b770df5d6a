"""The number of votes on a post, which the database keeps: exact under plain SQL, races and cascades."""

from __future__ import annotations

from random import Random
from threading import Barrier, Event, Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command

from folkmoot.commands.recount import Count, recount
from folkmoot.postgres import revisions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.cluster import Cluster


@pytest.fixture
def url(cluster18: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = cluster18.create_database()
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    yield cluster18.url(name)
    cluster18.drop_database(name)


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """Ten posts of one person, and ninety-nine others, at head."""
    command.upgrade(revisions.config(), "head")
    with psycopg.connect(url, autocommit=True) as opened:
        _populate(opened)
        yield opened


def _populate(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO users (id, email, password) "
        "SELECT i, i || '@example.org', '!' FROM generate_series(1, 100) i"
    )
    connection.execute(
        "INSERT INTO posts (id, title, content, owner_id) SELECT i, 't', 'c', 1 FROM generate_series(1, 10) i"
    )


def _votes(connection: psycopg.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT votes FROM post_ranks ORDER BY post_id")]


def test_the_number_follows_inserts_updates_deletes_and_truncate(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO votes (user_id, post_id) SELECT u, 1 + u % 3 FROM generate_series(1, 9) u"
    )
    assert _votes(connection) == [3, 3, 3, 0, 0, 0, 0, 0, 0, 0]
    connection.execute("UPDATE votes SET post_id = 10 WHERE post_id = 1")
    assert _votes(connection) == [0, 3, 3, 0, 0, 0, 0, 0, 0, 3]
    connection.execute("DELETE FROM votes WHERE user_id <= 4")
    assert _votes(connection) == [0, 1, 2, 0, 0, 0, 0, 0, 0, 2]
    connection.execute("DELETE FROM users WHERE id = 5")
    assert _votes(connection) == [0, 1, 1, 0, 0, 0, 0, 0, 0, 2]
    connection.execute("DELETE FROM posts WHERE id = 2")
    assert _votes(connection) == [0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert recount(connection, repair=False) == []
    connection.execute("TRUNCATE votes")
    assert _votes(connection) == [0] * 9
    connection.execute("TRUNCATE posts CASCADE")
    assert _votes(connection) == []


def test_a_rank_follows_its_post(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE posts SET published = FALSE, owner_id = 2, created_at = 'epoch' WHERE id = 3")
    connection.execute("UPDATE posts SET id = 33 WHERE id = 4")
    row = connection.execute(
        "SELECT owner_id, published, extract(epoch FROM created_at)::int, hot "
        "FROM post_ranks WHERE post_id = 3"
    ).fetchone()
    assert row == (2, False, 0, 0.0)
    assert connection.execute("SELECT FROM post_ranks WHERE post_id = 33").fetchone() is not None


def test_an_edit_raises_the_version_and_renews_the_document(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE posts SET content = 'walking bridges' WHERE id = 1")
    row = connection.execute("SELECT version, document::text FROM posts WHERE id = 1").fetchone()
    assert row == (2, "'bridg':3 'walk':2")


def test_recount_finds_and_repairs_a_number_that_was_tampered_with(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO votes (user_id, post_id) SELECT u, 7 FROM generate_series(1, 9) u")
    connection.execute("UPDATE post_ranks SET votes = 12 WHERE post_id = 7")
    connection.execute("DELETE FROM post_ranks WHERE post_id = 8")
    differing = [Count(7, 12, 9), Count(8, None, 0)]
    assert recount(connection, repair=False) == [*differing, Count(8, None, 0, "comments")]
    assert recount(connection, repair=True) == differing
    assert recount(connection, repair=False) == []
    assert _votes(connection) == [0, 0, 0, 0, 0, 0, 9, 0, 0, 0]


def _at_once(url: str, workers: int, work: Callable[[psycopg.Connection, int], None]) -> list[Exception]:
    """Run ``work`` on as many connections, all released at one moment."""
    failed: list[Exception] = []
    barrier = Barrier(workers)

    def run(n: int) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                barrier.wait()
                work(connection, n)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    threads = [Thread(target=run, args=(n,)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_many_votes_changed_at_once_in_any_order_do_not_deadlock(
    url: str, connection: psycopg.Connection
) -> None:
    def work(connection: psycopg.Connection, n: int) -> None:
        random = Random(n)
        for _ in range(15):
            posts = random.sample(range(1, 11), 6)
            connection.execute(
                "INSERT INTO votes (user_id, post_id) SELECT %s, p FROM unnest(%s::int[]) p",
                (n + 2, posts),
            )
            connection.execute("DELETE FROM votes WHERE user_id = %s", (n + 2,))
            connection.execute(
                "INSERT INTO votes (user_id, post_id) SELECT %s, p FROM unnest(%s::int[]) p",
                (n + 2, posts[::-1]),
            )
            connection.execute("DELETE FROM votes WHERE user_id = %s AND post_id > 5", (n + 2,))
            connection.execute("UPDATE votes SET post_id = post_id + 5 WHERE user_id = %s", (n + 2,))
            connection.execute("DELETE FROM votes WHERE user_id = %s", (n + 2,))
        connection.execute("INSERT INTO votes (user_id, post_id) VALUES (%s, %s)", (n + 2, n % 10 + 1))

    assert _at_once(url, 10, work) == []
    assert _votes(connection) == [1] * 10
    assert recount(connection, repair=False) == []


def test_voters_are_deleted_and_numbers_recounted_while_others_vote(
    url: str, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO votes (user_id, post_id) "
        "SELECT u, p FROM generate_series(2, 60) u, generate_series(1, 10) p"
    )
    connection.execute("UPDATE post_ranks SET votes = 0")

    def work(connection: psycopg.Connection, n: int) -> None:
        if n == 0:
            recount(connection, repair=True)
        elif n < 4:
            for user in range(n + 1, 50, 3):
                connection.execute("DELETE FROM users WHERE id = %s", (user,))
        else:
            for post in Random(n).choices(range(1, 11), k=40):
                connection.execute(
                    "INSERT INTO votes (user_id, post_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    (n + 60, post),
                )
                connection.execute("DELETE FROM votes WHERE user_id = %s AND post_id <> %s", (n + 60, post))

    assert _at_once(url, 10, work) == []
    assert recount(connection, repair=False) == []


@pytest.mark.one_in(3)
def test_the_revisions_that_count_votes_count_exactly_while_people_vote(
    url: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cluster.create_database()
    url = cluster.url(name)
    monkeypatch.setenv("DATABASE_URL", url)
    command.upgrade(revisions.config(), "c47ecbf163d4")
    done, acknowledged = Event(), [0] * 4
    with psycopg.connect(url, autocommit=True) as connection:
        _populate(connection)
        connection.execute(
            "INSERT INTO votes (user_id, post_id) "
            "SELECT u, p FROM generate_series(50, 99) u, generate_series(1, 10) p"
        )

        def migrate_or_vote(voter: psycopg.Connection, n: int) -> None:
            if n == 4:
                try:
                    command.upgrade(revisions.config(), "head")
                finally:
                    done.set()
                return
            random = Random(n)
            while not done.is_set():
                pair = (random.randint(2, 40), random.randint(1, 10))
                voter.execute(
                    "INSERT INTO votes (user_id, post_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", pair
                )
                voter.execute("DELETE FROM votes WHERE user_id = %s AND post_id = %s", pair[::-1])
                acknowledged[n] += 1

        assert _at_once(url, 5, migrate_or_vote) == []
        assert min(acknowledged) > 0
        assert recount(connection, repair=False) == []
        assert sum(_votes(connection)) >= 500 - 100
    cluster.drop_database(name)
