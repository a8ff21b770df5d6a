"""Going over a table in batches: how large they are, and how several connections share them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import database18
from lockstep import Pace
from lockstep.postgres.session import execute
from lockstep.steps import pages as walk
from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lockstep.steps.pages import Pages
    from testing.cluster import Cluster

TABLES = """
CREATE TABLE posts (id integer PRIMARY KEY, title text, pad char(400) DEFAULT '');
INSERT INTO posts SELECT n, 't' FROM generate_series(1, 10000) n;
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.title := NEW.title || '!'; RETURN NEW; END $$;
"""


database = database18(TABLES)


@pytest.fixture
def migrator(cluster18: Cluster, database: str) -> Iterator[sa.Connection]:
    """A connection like the one that a migration runs on."""
    engine = sa.create_engine(cluster18.url(database, "psycopg"), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", cluster18.url(database, "psycopg"))


def number(cluster: Cluster, database: str, query: str) -> int:
    with cluster.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return int(row[0])


def test_empty_pages_do_not_make_a_batch_that_full_ones_would_make_too_long(
    migrator: sa.Connection,
) -> None:
    widths: list[int] = []

    def batch(_: sa.Connection, pages: Pages) -> int:
        widths.append(pages.until - pages.first)
        return 0

    walk.walk(migrator, Pace(), "posts", "posts", batch)
    assert sum(widths) == 10000 // 18 + 1
    # 291 rows a page at 10 microseconds: in 0.04 s no more than 13 pages.
    assert max(widths[2:]) <= 13


def test_a_batch_that_takes_too_long_is_broken_off_and_made_smaller(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "op.execute('DELETE FROM posts WHERE id > 360')\n"
        "op.add_column('posts', sa.Column('n', sa.Integer()))\n"
        "op.backfill('posts', {'n': sa.text('(SELECT id FROM pg_sleep(0.002 + 0 * id))')})"
    )
    project.upgrade()
    assert number(cluster18, database, "SELECT count(*) FROM posts WHERE n = id") == 360
    # The first batch would have been 16 pages of 18 rows.
    most = "SELECT max(rows) FROM (SELECT count(*) AS rows FROM posts GROUP BY xmin::text) transactions"
    assert number(cluster18, database, most) < 60


def test_what_several_connections_go_over_is_gone_over_once(
    migrator: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_ALONE", -1)
    monkeypatch.setattr(walk, "_STRETCH", 16)
    both = threading.Barrier(2)
    calls: Counter[sa.Connection] = Counter()
    visited: list[tuple[sa.Connection, int]] = []

    def batch(connection: sa.Connection, pages: Pages) -> int:
        calls[connection] += 1
        # The first one's second batch, and the other one's first.
        if calls[connection] == (2 if connection is migrator else 1):
            both.wait(20)
        visited.extend((connection, page) for page in range(pages.first, pages.until))
        return 1

    walk.walk(migrator, Pace(), "posts", "posts", batch, connections=2)
    assert len({connection for connection, _ in visited}) == 2
    assert sorted(page for _, page in visited) == list(range(10000 // 18 + 1))


def test_the_pages_of_a_connection_that_fails_are_left_to_the_first_one(
    migrator: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_ALONE", -1)
    monkeypatch.setattr(walk, "_STRETCH", 16)
    failed = threading.Event()
    visited: list[int] = []

    def batch(connection: sa.Connection, pages: Pages) -> int:
        if connection is not migrator:
            failed.set()
            execute(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
        elif visited:
            assert failed.wait(20)
        visited.extend(range(pages.first, pages.until))
        return 1

    walk.walk(migrator, Pace(), "posts", "posts", batch, connections=2)
    assert sorted(visited) == list(range(10000 // 18 + 1))


def test_a_further_connection_has_the_role_and_the_settings_of_the_first(
    migrator: sa.Connection, cluster18: Cluster, database: str
) -> None:
    execute(migrator, "CREATE ROLE somebody")
    try:
        execute(migrator, "SET search_path = elsewhere, public")
        execute(migrator, "SET work_mem = '7MB'")
        execute(migrator, "SET ROLE somebody")
        session = "SELECT current_user::text, current_setting('search_path'), current_setting('work_mem')"
        other = walk._another(migrator)  # noqa: SLF001
        assert other is not None
        with other:
            assert execute(other, session).one() == execute(migrator, session).one()
        execute(migrator, "RESET ROLE")
        execute(migrator, "CREATE TEMP TABLE own (n integer)")
        assert walk._another(migrator) is None  # noqa: SLF001
    finally:
        with cluster18.connect(database) as connection:
            connection.execute("DROP ROLE somebody")


def test_filling_leaves_many_rows_on_their_pages(project: Project, cluster18: Cluster, database: str) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(
            "CREATE TABLE places AS SELECT id, (ctid::text::point)[0] AS page FROM posts; ANALYZE posts"
        )
    project.revision("op.alter_column('posts', 'title', type_=sa.LargeBinary(), "
                     "postgresql_using='title::bytea')")  # fmt: skip
    project.upgrade()
    stayed = "SELECT count(*) FROM posts JOIN places USING (id) WHERE (posts.ctid::text::point)[0] = page"
    assert number(cluster18, database, stayed) > 4000


def test_a_new_column_fires_no_trigger_of_the_table_neither_filled_nor_given_back(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE TRIGGER mark BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION mark()")
    project.revision(
        "op.add_column('posts', sa.Column('uid', sa.Uuid(), server_default=sa.text('gen_random_uuid()')))",
        "op.drop_column('posts', 'uid')",
    )
    project.upgrade()
    before = number(cluster18, database, "SELECT sum(hashtextextended(uid::text, 0)) FROM posts")
    project.downgrade("base")
    project.upgrade()
    assert number(cluster18, database, "SELECT sum(hashtextextended(uid::text, 0)) FROM posts") == before
    assert number(cluster18, database, "SELECT count(*) FROM posts WHERE title = 't'") == 10000


def test_a_fill_empties_the_pending_list_of_a_gin_index_that_it_fills(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE INDEX posts_words ON posts USING gin (to_tsvector('simple', title))")
    project.revision("op.alter_column('posts', 'id', type_=sa.BigInteger())")
    project.upgrade()
    # It returns how many pages it has taken from the list.
    assert number(cluster18, database, "SELECT gin_clean_pending_list('posts_words')") == 0
