"""The numbers of a post's comments and of a comment's votes: exact under plain SQL, races and cascades."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from random import Random
from threading import Event
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from folkmoot.commands.recount import Count, recount
from folkmoot.postgres import revisions
from test_comments import say
from test_posts import write
from test_vote_counts import _at_once, _populate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api import Api
    from testing.cluster import Cluster

SAY = "INSERT INTO comments (post_id, parent_id, owner_id, content) VALUES (%s, %s, %s, 'said') RETURNING id"


@pytest.fixture
def url(cluster18: Cluster, migrated: str) -> Iterator[str]:
    name = cluster18.create_database(template=migrated)
    yield cluster18.url(name)
    cluster18.drop_database(name)


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    """Ten posts of one person, and ninety-nine others, at head."""
    with psycopg.connect(url, autocommit=True) as opened:
        _populate(opened)
        yield opened


def _say(connection: psycopg.Connection, post: int, parent: int | None, owner: int) -> int:
    row = connection.execute(SAY, (post, parent, owner)).fetchone()
    assert row
    return int(row[0])


def _comments(connection: psycopg.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT comments FROM post_ranks ORDER BY post_id")]


def test_the_number_of_comments_follows_plain_sql(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO comments (post_id, owner_id, content) "
        "SELECT 1 + n % 3, 1 + n, 'said' FROM generate_series(1, 9) n"
    )
    assert _comments(connection)[:4] == [3, 3, 3, 0]
    connection.execute("UPDATE comments SET post_id = 4 WHERE post_id = 1")
    assert _comments(connection)[:4] == [0, 3, 3, 3]
    connection.execute("UPDATE comments SET content = 'meant', votes = votes")
    connection.execute("DELETE FROM comments WHERE owner_id <= 4")
    assert _comments(connection)[:4] == [0, 2, 2, 2]
    connection.execute("DELETE FROM users WHERE id = 5")
    assert _comments(connection)[:4] == [0, 1, 2, 2]
    connection.execute("DELETE FROM posts WHERE id = 3")
    assert _comments(connection)[:3] == [0, 1, 2]
    assert recount(connection, repair=False) == []
    connection.execute("TRUNCATE comments CASCADE")
    assert _comments(connection) == [0] * 9


def test_the_number_of_votes_follows_plain_sql(connection: psycopg.Connection) -> None:
    comments = [_say(connection, 1, None, 1) for _ in range(3)]

    def votes() -> list[int]:
        return [row[0] for row in connection.execute("SELECT votes FROM comments ORDER BY id")]

    connection.execute(
        "INSERT INTO comment_votes SELECT u, 1, c FROM generate_series(2, 7) u, unnest(%s::int[]) c",
        (comments[:2],),
    )
    assert votes() == [6, 6, 0]
    connection.execute("UPDATE comment_votes SET comment_id = %s WHERE comment_id = %s", comments[1:][::-1])
    assert votes() == [6, 0, 6]
    connection.execute("DELETE FROM comment_votes WHERE user_id = 2")
    connection.execute("DELETE FROM users WHERE id = 3")
    assert votes() == [4, 0, 4]
    assert recount(connection, repair=False) == []
    connection.execute("TRUNCATE comment_votes")
    assert votes() == [0, 0, 0]


def test_a_deleted_comment_stays_for_its_answers_and_counts_no_more(connection: psycopg.Connection) -> None:
    top = _say(connection, 1, None, 1)
    middle = _say(connection, 1, top, 2)
    leaf = _say(connection, 1, middle, 3)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("DELETE FROM comments WHERE id = %s", (middle,))
    connection.execute("UPDATE comments SET owner_id = NULL WHERE id IN (%s, %s)", (middle, top))
    rows = connection.execute("SELECT id, content, owner_id, version FROM comments ORDER BY path").fetchall()
    assert rows == [(top, "", None, 2), (middle, "", None, 2), (leaf, "said", 3, 1)]
    assert _comments(connection)[0] == 1
    connection.execute("DELETE FROM comments WHERE id = %s", (leaf,))
    assert connection.execute("SELECT count(*) FROM comments").fetchone() == (0,)
    assert recount(connection, repair=False) == []


def test_a_deleted_comment_has_no_words_and_an_answer_has_something_to_answer(
    connection: psycopg.Connection,
) -> None:
    comment = _say(connection, 1, None, 1)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        _say(connection, 2, comment, 1)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO comments (post_id, content) VALUES (1, 'nobody''s')")


def test_recount_finds_and_repairs_numbers_that_were_tampered_with(connection: psycopg.Connection) -> None:
    comment = _say(connection, 7, None, 1)
    connection.execute("INSERT INTO comment_votes SELECT u, 7, %s FROM generate_series(2, 5) u", (comment,))
    connection.execute("UPDATE post_ranks SET comments = 12 WHERE post_id IN (7, 9)")
    connection.execute("UPDATE comments SET votes = 1")
    differing = [
        Count(7, 12, 1, "comments"), Count(9, 12, 0, "comments"), Count(7, 1, 4, comment_id=comment),
    ]  # fmt: skip
    assert recount(connection, repair=False) == differing
    assert recount(connection, repair=True) == differing
    assert recount(connection, repair=False) == []


def test_one_text_makes_the_functions_that_keep_all_three_numbers(connection: psycopg.Connection) -> None:
    """Votes on comments are counted by what counts those on posts, and not by something like it."""
    script = ScriptDirectory.from_config(revisions.config()).get_revision("e41b7f0c9a26")
    for number in (script.module.VOTES, script.module.COMMENTS, script.module.COMMENT_VOTES):
        row = connection.execute(
            "SELECT prosrc FROM pg_proc WHERE proname = %s", (f"keep_{number.counted}",)
        ).fetchone()
        assert row
        assert row[0] == number.function().split("$$")[1]


def test_people_comment_answer_delete_vote_and_leave_at_once_and_every_number_is_exact(
    url: str, connection: psycopg.Connection
) -> None:
    comments = [(post, _say(connection, post, None, 2)) for post in range(1, 11) for _ in range(3)]
    refused = psycopg.errors.ForeignKeyViolation, psycopg.errors.DeadlockDetected

    def attempt(person: psycopg.Connection, statement: str, *values: object) -> None:
        with suppress(*refused):
            person.execute(statement.encode(), values)

    def work(person: psycopg.Connection, n: int) -> None:
        random, me = Random(n), n + 3
        if n == 0:
            for post in (10, 9, 8):
                attempt(person, "DELETE FROM posts WHERE id = %s", post)
            for user in range(60, 64):
                attempt(person, "DELETE FROM users WHERE id = %s", user)
            recount(person, repair=True)
            return
        for _ in range(25):
            post, comment = random.choice(comments)
            attempt(person, SAY, post, comment, random.choice((me, 60 + n % 4)))
            attempt(
                person,
                "INSERT INTO comment_votes VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                me,
                post,
                comment,
            )
            attempt(person, "DELETE FROM comment_votes WHERE user_id = %s AND post_id <> %s", me, post)
            attempt(
                person, "UPDATE comments SET owner_id = NULL WHERE post_id = %s AND id = %s",
                *random.choice(comments),
            )  # fmt: skip
            attempt(
                person, "DELETE FROM comments c WHERE owner_id = %s AND post_id = %s AND NOT EXISTS "
                "(SELECT FROM comments a WHERE a.post_id = c.post_id AND a.parent_id = c.id)", me, post,
            )  # fmt: skip

    assert _at_once(url, 8, work) == []
    assert recount(connection, repair=False) == []
    unanswered = connection.execute(
        "SELECT count(*) FROM comments c WHERE owner_id IS NULL AND NOT EXISTS "
        "(SELECT FROM comments a WHERE a.post_id = c.post_id AND a.parent_id = c.id)"
    ).fetchone()
    assert unanswered == (0,)


def test_over_the_api_nobody_gets_an_error_of_the_server_while_posts_and_people_go(api: Api) -> None:
    people = [api.person() for _ in range(8)]
    posts = [write(api, people[n]) for n in range(4)]
    comments = [(post, say(api, person, post)) for post in posts for person in people]
    random = Random(1)
    requests = []
    for person in people:
        for _ in range(5):
            post, comment = random.choice(comments)
            body = {"content": "x", "parent_id": comment}
            one = f"/posts/{post}/comments/{comment}"
            requests += [
                partial(api.post, f"/posts/{post}/comments", json=body, headers=person.auth),
                partial(api.put, f"{one}/vote", headers=person.auth),
                partial(api.delete, one, headers=person.auth),
            ]
    requests.append(partial(api.delete, f"/posts/{posts[0]}", headers=people[0].auth))
    requests += [partial(api.delete_with_password, "/users/me", person.auth) for person in people[2:4]]
    random.shuffle(requests)
    statuses = {answer.status_code for answer in api.at_once(*requests)}
    assert statuses <= {201, 204, 401, 403, 404}
    with api.connect() as connection:
        assert recount(connection, repair=False) == []


@pytest.mark.one_in(3)
def test_the_revisions_that_count_comments_count_exactly_while_people_comment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    command.downgrade(revisions.config(), "e41b7f0c9a26")
    done, acknowledged = Event(), [0] * 3
    with psycopg.connect(url, autocommit=True) as connection:
        _populate(connection)
        first = [_say(connection, 1 + n % 10, None, 1 + n % 50) for n in range(200)]
        connection.execute("INSERT INTO comment_votes SELECT 1, post_id, id FROM comments")

        def migrate_or_comment(person: psycopg.Connection, n: int) -> None:
            if n == 3:
                try:
                    command.upgrade(revisions.config(), "head")
                    command.downgrade(revisions.config(), "e41b7f0c9a26")
                    command.upgrade(revisions.config(), "head")
                finally:
                    done.set()
                return
            random = Random(n)
            while not done.is_set():
                place = random.randrange(200)
                post, comment = 1 + place % 10, first[place]
                _say(person, post, comment, n + 60)
                person.execute(
                    "INSERT INTO comment_votes VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (n + 60, post, comment),
                )
                person.execute("DELETE FROM comments WHERE owner_id = %s AND post_id = %s", (n + 60, post))
                acknowledged[n] += 1

        assert _at_once(url, 4, migrate_or_comment) == []
        assert min(acknowledged) > 0
        assert recount(connection, repair=False) == []
        assert sum(_comments(connection)) >= 200
