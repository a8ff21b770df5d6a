"""What cannot be done online is refused before anything is done, with the reason and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from lockstep import LockstepError
from project import Project
from state import state_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE people (id integer PRIMARY KEY, age integer, name text);
INSERT INTO people SELECT n, n, 'n' || n % 50 FROM generate_series(1, 100) n;
CREATE VIEW adults AS SELECT id FROM people WHERE age > 17;
CREATE TABLE parted (id integer, a integer REFERENCES people) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
INSERT INTO parted SELECT n, n FROM generate_series(1, 100) n;
"""


@pytest.fixture(scope="module")
def database(cluster18: Cluster) -> str:
    name = cluster18.create_database()
    with cluster18.connect(name) as connection:
        connection.execute(TABLES)
    return name


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """Nothing that is refused leaves anything, so that the tests share a database."""
    return Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "op.add_column('people', sa.Column('kind', sa.String(), nullable=False))",
            r'(?s)op\.backfill\("people", \{"kind": VALUE\}, where="kind IS NULL"\).*nullable=False',
        ),
        ("op.alter_column('people', 'age', type_=sa.BigInteger())", "rule _RETURN on view adults"),
        ("op.alter_column('people', 'id', type_=sa.BigInteger())", "view adults|partitioned table"),
        ("op.alter_column('parted', 'a', type_=sa.BigInteger())", "plain"),
        ("op.alter_column('people', 'nothing', nullable=False)", "people has no column nothing"),
        ("op.create_foreign_key('f', 'people', 'nowhere', ['id'], ['id'])", "nowhere, which does not exist"),
        ("op.create_primary_key('p', 'people', ['age'])", "has a primary key already"),
        ("op.create_index('people_pkey', 'people', ['age'])", "already exists"),
    ],
)
def test_it_is_refused_and_nothing_stays(
    change: str, says: str, project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(change)
    before = cluster18.dump_schema(database)
    with pytest.raises(LockstepError, match=says):
        project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA lockstep CASCADE; DROP TABLE IF EXISTS alembic_version")
    assert cluster18.dump_schema(database) == before


_ONCE_LARGE = """
CREATE TABLE once_large (id serial PRIMARY KEY, a text STORAGE PLAIN);
INSERT INTO once_large (a) SELECT repeat('x', 4000) FROM generate_series(1, 2200);
"""


@pytest.mark.parametrize("short_way", [True, False])
def test_a_column_that_old_rows_have_no_value_for_is_added_where_the_revision_deletes_them_all(
    cluster18: Cluster, tmp_path: Path, *, short_way: bool
) -> None:
    by_plain, by_lockstep = cluster18.create_database(), cluster18.create_database()
    for name in (by_plain, by_lockstep):
        with cluster18.connect(name) as connection:
            connection.execute(_ONCE_LARGE)
    project = Project(tmp_path / "project", cluster18.url(by_lockstep, "psycopg"), short_way=short_way)
    project.revision(
        "op.execute('DELETE FROM once_large')\n"
        "op.add_column('once_large', sa.Column('kind', sa.Text(), nullable=False, unique=True))"
    )
    project.upgrade("head", cluster18.url(by_plain, "psycopg"), plain=True)
    project.upgrade()
    assert state_of(cluster18, by_lockstep).difference(state_of(cluster18, by_plain)) is None
    for name in (by_plain, by_lockstep):
        cluster18.drop_database(name)


@pytest.mark.parametrize("short_way", [True, False])
def test_a_column_that_was_kept_of_every_row_is_added_without_a_default(
    cluster18: Cluster, tmp_path: Path, *, short_way: bool
) -> None:
    database = cluster18.create_database()
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision("op.create_table('notes', sa.Column('id', sa.Integer(), primary_key=True))")
    project.revision(
        "op.add_column('notes', sa.Column('kind', sa.Text(), nullable=False))",
        "op.drop_column('notes', 'kind')",
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO notes VALUES (1, 'a'), (2, 'b')")
    before = state_of(cluster18, database)
    project.downgrade("r1")
    project.upgrade()
    assert state_of(cluster18, database).difference(before) is None
    project.downgrade("r1")
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO notes VALUES (3)")
    with pytest.raises((sa.exc.IntegrityError, LockstepError), match="null values"):
        project.upgrade()
    project.downgrade("r1")
    cluster18.drop_database(database)


def test_a_duplicate_is_told_and_leaves_no_index_behind(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision("op.create_unique_constraint('people_name', 'people', ['name'])")
    with pytest.raises(sa.exc.IntegrityError, match=r"Key \(name\)=\(n\d+\) is duplicated"):
        project.upgrade()
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('people_name')").fetchone() == (None,)
        connection.execute("DROP SCHEMA lockstep CASCADE; DROP TABLE IF EXISTS alembic_version")


def test_an_invalid_leftover_is_removed_and_built_anew(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        with pytest.raises(Exception, match="could not create unique index"):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY people_age ON people (name)")
        project.revision(
            "op.create_index('people_age', 'people', ['age'], unique=True, if_not_exists=True)",
            "op.drop_index('people_age')",
        )
        project.upgrade()
        found = connection.execute(
            "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indexrelid = 'people_age'::regclass"
        ).fetchone()
        assert found == (True, "CREATE UNIQUE INDEX people_age ON public.people USING btree (age)")
    project.downgrade("base")
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS lockstep CASCADE; DROP TABLE IF EXISTS alembic_version")


def test_a_batch_that_is_told_to_recreate_the_table_runs_as_plain_alembic(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(
            "CREATE TABLE batch (id serial PRIMARY KEY, a integer); INSERT INTO batch (a) VALUES (1)"
        )
    project.revision(
        "with op.batch_alter_table('batch', recreate='always') as batch:\n"
        "    batch.add_column(sa.Column('b', sa.Integer(), server_default='3', nullable=False))\n"
        "    batch.alter_column('a', type_=sa.BigInteger())"
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT a, b, pg_typeof(a)::text FROM batch").fetchone() == (1, 3, "bigint")
        connection.execute("DROP SCHEMA lockstep CASCADE; DROP TABLE alembic_version, batch")
