"""Filling columns in batches: whatever the table is like, whoever is at its rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from lockstep import LockstepError, Pace
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE posts (title text, body text, n integer, pad char(300) DEFAULT '');
INSERT INTO posts SELECT 't' || n, CASE WHEN n % 10 > 0 THEN 'b' || n END, NULL
    FROM generate_series(1, 3000) n;
CREATE TABLE votes (post text, person integer);
INSERT INTO votes SELECT 't' || n % 3000 + 1, n FROM generate_series(1, 6000) n;
"""


@pytest.fixture(scope="module")
def kept(cluster18: Cluster) -> str:
    return cluster18.create_database()


@pytest.fixture
def database(cluster18: Cluster, kept: str) -> str:
    """A database without anything of an earlier test."""
    with cluster18.connect(kept) as connection:
        schemas = connection.execute(
            "SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace "
            "WHERE nspname !~ '^pg_|^information_'"
        ).fetchone()
        connection.execute(f"DROP SCHEMA {schemas[0]} CASCADE; CREATE SCHEMA public; {TABLES}")  # type: ignore[index]
    return kept


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", cluster18.url(database, "psycopg"))


def value(cluster: Cluster, database: str, query: str) -> object:
    with cluster.connect(database) as connection:
        row = connection.execute(query).fetchone()
        assert row
        return row[0]


def test_a_table_without_a_key_is_filled_in_many_short_transactions(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision("op.backfill('posts', {'n': 7}, where='n IS NULL')")
    project.upgrade(pace=Pace(batch_time=0.0005))
    assert value(cluster18, database, "SELECT count(*) FROM posts WHERE n = 7") == 3000
    assert int(str(value(cluster18, database, "SELECT count(DISTINCT xmin::text) FROM posts"))) > 3


def test_a_value_may_be_computed_from_other_tables(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "op.backfill('posts', {'n': sa.text('(SELECT count(*) FROM votes v WHERE v.post = posts.title)')})"
    )
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("CREATE INDEX ON votes (post)")
        other.commit()
        other.execute(
            "SELECT FROM posts WHERE title = 't5' FOR UPDATE"
        )  # and so the other kind of batch is taken
        threading.Timer(0.3, other.rollback).start()
        project.upgrade()
    assert value(cluster18, database, "SELECT sum(n) FROM posts") == 6000


def test_rows_that_others_hold_are_left_until_they_let_go(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision("op.backfill('posts', {'n': 1})")
    with cluster18.connect(database, autocommit=False) as other, cluster18.connect(database) as service:
        other.execute("UPDATE posts SET body = 'mine' WHERE title IN ('t1', 't1500', 't3000')")
        migration = threading.Thread(target=project.upgrade)
        migration.start()
        while service.execute("SELECT count(*) FROM posts WHERE n = 1").fetchone() != (2997,):
            assert migration.is_alive()
        other.commit()
        migration.join(20)
        assert not migration.is_alive()
        found = service.execute(
            "SELECT count(*), count(*) FILTER (WHERE body = 'mine') FROM posts WHERE n = 1"
        )
        assert found.fetchone() == (3000, 3)


@pytest.mark.parametrize(
    ("backfill", "row"),
    [
        ("op.backfill('posts', {'n': 1}, where='true')", "title='t1'"),
        (
            "op.backfill('posts', {'title': sa.text('lower(body)')}, where='body IS NULL OR title <> body')",
            "body=None",
        ),
        ("op.backfill('posts', {'n': sa.text('length(body)')}, where='n IS NULL')", "body=None, n=None"),
    ],
    ids=["always", "some", "null"],
)
def test_a_predicate_that_stays_true_is_refused_with_a_row(backfill: str, row: str, project: Project) -> None:
    project.revision(backfill)
    with pytest.raises(LockstepError, match="the fill would never end") as raised:
        project.upgrade()
    assert row in str(raised.value)


def test_the_rows_of_which_nothing_can_be_computed_are_named(project: Project) -> None:
    project.revision("op.backfill('votes', {'person': sa.text('9 / (person - 10)')}, where='person > 9')")
    with pytest.raises(LockstepError, match=r'division by zero. These rows are in the way: .*"person": 10'):
        project.upgrade()


@pytest.mark.one_in(3)
def test_a_fill_ends_though_others_go_on_writing_rows_that_match(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision("op.backfill('posts', {'n': 1})")
    stop = threading.Event()

    def write() -> None:
        with cluster18.connect(database) as service:
            while not stop.is_set():
                service.execute("INSERT INTO posts VALUES ('late')")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        project.upgrade()
    finally:
        stop.set()
        writer.join()
    assert value(cluster18, database, "SELECT count(*) FROM posts WHERE n = 1 AND title <> 'late'") == 3000


def test_a_predicate_may_look_at_the_table_itself(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "op.backfill('posts', {'n': 1}, where='title IN (SELECT p.title FROM posts p WHERE p.n IS NULL)')"
    )
    project.upgrade()
    assert value(cluster18, database, "SELECT count(*) FROM posts WHERE n = 1") == 3000


def test_the_tables_own_triggers_see_a_backfill_as_they_see_an_update(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.title := NEW.title || '!'; RETURN NEW; END $$; "
            "CREATE TRIGGER mark BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION mark()"
        )
    project.revision("op.backfill('posts', {'n': 1})\nop.alter_column('posts', 'n', type_=sa.BigInteger())")
    project.upgrade()
    assert (
        value(cluster18, database, "SELECT count(*) FROM posts WHERE title ~ '^t[0-9]+!$' AND n = 1") == 3000
    )


LONG = "ü" * 31 + "x"  # 63 bytes


@pytest.mark.parametrize("table", ["Mixed Case", "select", LONG, 'quo"te', "per%cent", "two  spaces"])
def test_any_name_and_schema_will_do(table: str, project: Project, cluster18: Cluster, database: str) -> None:
    column = table[::-1]
    quoted, quoted_column = (name.replace('"', '""') for name in (table, column))
    with cluster18.connect(database) as connection:
        connection.execute(
            f'CREATE SCHEMA "My Own"; CREATE TABLE "My Own"."{quoted}" (id serial PRIMARY KEY, a integer); '
            f'INSERT INTO "My Own"."{quoted}" (a) SELECT 1 FROM generate_series(1, 100)'.encode()
        )
    text = "it's 100% \\ \" :x %(y)s"
    project.revision(
        f"s = {{'schema': 'My Own'}}\n"
        f"op.add_column({table!r}, sa.Column({column!r}, sa.Text(), comment={text!r}), **s)\n"
        f"op.backfill({table!r}, {{{column!r}: {text!r}}}, **s)\n"
        f"op.alter_column({table!r}, {column!r}, nullable=False, server_default={text!r}, **s)\n"
        f"op.create_check_constraint(None, {table!r}, sa.column({column!r}) != '%', **s)\n"
        f"op.create_unique_constraint(None, {table!r}, ['id', {column!r}], **s)\n"
        f"op.create_index(None, {table!r}, [{column!r}], **s)\n"
        f"op.create_foreign_key('own', {table!r}, {table!r}, ['id'], ['id'], "
        "source_schema='My Own', referent_schema='My Own')\n"
        f"op.alter_column({table!r}, 'id', type_=sa.BigInteger(), **s)\n"
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute(f'INSERT INTO "My Own"."{quoted}" (a) VALUES (2)'.encode())
        found = connection.execute(
            f'SELECT count(*), count(DISTINCT "{quoted_column}"), max("{quoted_column}") '
            f'FROM "My Own"."{quoted}"'.replace("%", "%%").encode(),
            [],
        ).fetchone()
    assert found == (101, 1, text)


def test_nothing_to_fill_an_unknown_column_and_an_unknown_table_are_said(project: Project) -> None:
    for backfill, says in (
        ("op.backfill('posts', {})", "values is empty"),
        ("op.backfill('posts', {'m': 1})", "posts has no column m"),
        ("op.backfill('nowhere', {'m': 1})", "there is no table nowhere"),
    ):
        name = project.revision(backfill)
        with pytest.raises(LockstepError, match=says):
            project.upgrade()
        (project.folder / "versions" / f"{name}.py").unlink()
        project.count -= 1
