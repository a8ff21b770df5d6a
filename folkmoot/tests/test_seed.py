"""`folkmoot seed`: as much as was asked for, the same for the same number, every count exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from folkmoot.commands.main import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

_CONTENT = """
    SELECT (SELECT array_agg((display_name) ORDER BY id) FROM users)::text,
           (SELECT md5(string_agg(title || content || published, '' ORDER BY id)) FROM posts),
           (SELECT array_agg((votes, comments) ORDER BY post_id) FROM post_ranks)::text,
           (SELECT md5(string_agg(content || votes || cardinality(path), '' ORDER BY id)) FROM comments)
"""


@pytest.fixture
def database_at_head(cluster18: Cluster, migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = cluster18.create_database(template=migrated)
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    yield name
    cluster18.drop_database(name)


def _folkmoot(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(program(arguments[0]), arguments)
    return result.exit_code, result.output


def test_seed_makes_what_was_asked_for_and_counts_are_exact(
    cluster18: Cluster, database_at_head: str
) -> None:
    options = ("--users", "30", "--posts", "200", "--votes", "900", "--comments", "300")
    assert _folkmoot("seed", *options)[0] == 0
    with cluster18.connect(database_at_head) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM users), count(*), (SELECT count(*) FROM votes), sum(votes), "
            "sum(comments), (SELECT count(*) FROM comments), (SELECT sum(votes) FROM comments), "
            "(SELECT count(*) FROM comments WHERE parent_id IS NOT NULL) BETWEEN 50 AND 250, "
            "sum(comments) FILTER (WHERE NOT posts.published), count(*) FILTER (WHERE document IS NULL), "
            "sum(votes) FILTER (WHERE NOT posts.published) "
            "FROM posts JOIN post_ranks ON post_id = id"
        ).fetchone()
        first = connection.execute(_CONTENT).fetchone()
        assert row == (30, 200, 900, 900, 300, 300, 300, True, 0, 0, 0)
        assert _folkmoot("recount", "--check")[1].endswith("exact\n")
        connection.execute("TRUNCATE users CASCADE")
        assert _folkmoot("seed", *options)[0] == 0
        assert connection.execute(_CONTENT).fetchone() == first
        connection.execute("TRUNCATE users CASCADE")
        assert _folkmoot("seed", *options, "--seed", "2")[0] == 0
        assert connection.execute(_CONTENT).fetchone() != first


def test_seed_adds_to_what_is_there_and_ids_go_on_after_it(cluster18: Cluster, database_at_head: str) -> None:
    for _ in range(2):
        status, output = _folkmoot(
            "seed", "--users", "3", "--posts", "2", "--votes", "4", "--comments", "5", "--password", "open"
        )
        assert status == 0
        assert "Log in as " in output
    with cluster18.connect(database_at_head) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (6,)
        added = connection.execute(
            "INSERT INTO posts (title, content, owner_id) SELECT 't', 'c', max(id) FROM users RETURNING id"
        ).fetchone()
        assert added == (5,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--users", "2", "--posts", "3", "--votes", "7"), "2 people have at most 6 votes"),
        (("--users", "0", "--posts", "3"), "--users takes at least 1"),
        (("--posts", "0", "--votes", "0"), "comments need a post"),
        (("--users", "-1"), "take numbers from 0"),
    ],
)
def test_amounts_that_cannot_be_are_one_line(options: tuple[str, ...], says: str) -> None:
    status, output = _folkmoot("seed", *options)
    assert (status, output.count("\n")) == (2, 1)
    assert says in output


def test_recount_says_what_differs(cluster18: Cluster, database_at_head: str) -> None:
    assert _folkmoot("seed", "--users", "9", "--posts", "9", "--votes", "20", "--comments", "20")[0] == 0
    with cluster18.connect(database_at_head) as connection:
        connection.execute("UPDATE post_ranks SET votes = 1000 WHERE post_id = 5")
    status, output = _folkmoot("recount", "--check")
    assert status == 1
    assert "post 5: kept 1000, counted" in output
    assert _folkmoot("recount")[1].endswith("1 number differs, repaired\n")
    assert _folkmoot("recount", "--check") == (0, _folkmoot("recount")[1])


def test_reindex_searches_in_another_language(cluster18: Cluster, database_at_head: str) -> None:
    assert _folkmoot("seed", "--users", "1", "--posts", "1", "--votes", "0", "--comments", "0")[0] == 0
    with cluster18.connect(database_at_head) as connection:
        connection.execute("UPDATE posts SET title = 'Die Häuser', content = ''")

        def found() -> object:
            return connection.execute(
                "SELECT count(*) FROM posts "
                "WHERE document @@ websearch_to_tsquery(post_search_language(), 'haus')"
            ).fetchone()

        assert found() == (0,)
        assert _folkmoot("reindex", "german")[0] == 0
        assert found() == (1,)
    status, output = _folkmoot("reindex", "klingon")
    assert (status, output.startswith("SEARCH_LANGUAGE takes one of arabic, ")) == (2, True)
