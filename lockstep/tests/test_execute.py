"""What op.execute does is found out by parsing it: what waits, what is refused, what can be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, on_tables
from lockstep import LockstepError, Pace
from lockstep.postgres.functions import changes_nothing, only_touches_rows
from lockstep.postgres.statements import classify

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project
    from testing.cluster import Cluster

SCHEMA = """
CREATE TABLE things (id integer PRIMARY KEY, name text, owner_id integer);
INSERT INTO things SELECT n, repeat('n', 100) || n, n % 5 + 1 FROM generate_series(1, 8000) n;
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 5) n;
CREATE FUNCTION adds_column() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN ALTER TABLE owners ADD COLUMN extra integer; END $$;
CREATE FUNCTION adds_through_another() RETURNS void LANGUAGE sql AS 'SELECT adds_column()';
CREATE FUNCTION builds() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE 'ALTER TABLE owners ADD COLUMN built integer'; END $$;
CREATE FUNCTION writes() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN UPDATE owners SET name = upper(name); PERFORM 1; END $$;
CREATE FUNCTION doubles(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    return at_first_revision(on_tables(cluster, database, tmp_path, SCHEMA), "before")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("sql", "instead"),
    [
        ("ALTER TABLE things ALTER COLUMN id TYPE bigint", r'op.alter_column\("things", "id", type_=…\)'),
        ("UPDATE owners SET id = id; ALTER TABLE public.things ALTER id TYPE bigint", "op.alter_column"),
        ("DO $$ BEGIN ALTER TABLE things ALTER id TYPE bigint; END $$", "op.alter_column"),
        ("ALTER TABLE things ADD COLUMN u uuid DEFAULT gen_random_uuid()", "op.add_column"),
        ("ALTER TABLE things ADD COLUMN i bigint GENERATED ALWAYS AS IDENTITY", "op.add_column"),
        ("ALTER TABLE things ALTER name SET NOT NULL", 'op.alter_column."things", "name", nullable=False'),
        ("ALTER TABLE things ADD CHECK (id > 0)", "op.create_check_constraint"),
        ("ALTER TABLE things ADD FOREIGN KEY (owner_id) REFERENCES owners", "op.create_foreign_key"),
        ("ALTER TABLE things ADD UNIQUE (name)", "op.create_unique_constraint"),
        ("CREATE INDEX ON things (name)", "op.create_index"),
        ("REINDEX TABLE things", "REINDEX TABLE CONCURRENTLY things"),
        ("ALTER TABLE things SET UNLOGGED", "Let the table be locked"),
        ("CLUSTER things USING things_pkey", "Let the table be locked"),
    ],
)
def test_what_holds_a_lock_on_a_table_that_is_not_small_is_refused_with_what_to_write(
    sql: str, instead: str, project: Project, cluster: Cluster, database: str
) -> None:
    before = cluster.dump_schema(database)
    project.revision(f"op.execute({sql!r})")
    with pytest.raises(LockstepError, match=instead) as raised:
        project.upgrade()
    assert "with lockstep.plain():" in str(raised.value)
    assert cluster.dump_schema(database) == before


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE owners ALTER COLUMN id TYPE bigint",
        "CREATE INDEX owners_name ON owners (name)",
        "ALTER TABLE things ADD COLUMN c integer NOT NULL DEFAULT 1",
        "ALTER TABLE things ALTER COLUMN name TYPE varchar",
        "ALTER TABLE things ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
        "ALTER TABLE things ALTER id SET NOT NULL",
    ],
)
def test_what_takes_a_moment_runs_as_it_is_written(sql: str, project: Project) -> None:
    project.revision(f"op.execute({sql!r})")
    project.upgrade()


def test_a_plain_block_runs_what_would_be_refused(project: Project) -> None:
    project.revision(
        "with lockstep.plain():\n    op.execute('ALTER TABLE things ALTER COLUMN id TYPE bigint')"
    )
    project.upgrade()


@pytest.mark.parametrize(
    ("sql", "patient"),
    [
        ("UPDATE owners SET name = lower(name) WHERE id = doubles(1)", True),
        ("SELECT writes()", True),
        (
            "WITH gone AS (DELETE FROM owners RETURNING id) SELECT count(*), string_agg('', '') FROM gone",
            True,
        ),
        ("SELECT adds_column()", False),
        ("SELECT adds_through_another()", False),
        ("SELECT builds()", False),
        ("SELECT unknown_function()", False),
        ("UPDATE owners SET name = ''; ALTER TABLE owners ADD x integer", False),
        ("DO $$ BEGIN PERFORM adds_column(); END $$", False),
        ("this cannot be parsed", False),
    ],
)
def test_only_what_touches_nothing_but_rows_waits_without_limit(
    sql: str,
    patient: bool,  # noqa: FBT001
    project: Project,
) -> None:
    with sa.create_engine(project.url, poolclass=sa.pool.NullPool).connect() as connection:
        assert only_touches_rows(connection, classify(sql)) is patient


@pytest.mark.parametrize("sql", ["SELECT adds_column()", "UPDATE owners SET id = id; SELECT adds_column()"])
def test_a_function_that_alters_a_table_does_not_queue_behind_its_readers(
    sql: str, project: Project, cluster: Cluster, database: str
) -> None:
    project.revision(f"op.execute({sql!r})")
    with cluster.connect(database) as reader:
        reader.autocommit = False
        reader.execute("SELECT FROM owners")
        with pytest.raises(LockstepError, match="gave up"):
            project.upgrade(pace=Pace(give_up_after=0.3))
        reader.rollback()
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(extra) FROM owners").fetchone() == (0,)


def test_sql_that_cannot_be_parsed_runs_and_is_told(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "alembic.lockstep")
    project.revision("op.execute('ALTER TABEL owners')")
    with pytest.raises(DBAPIError, match="syntax error"):
        project.upgrade()
    assert 'cannot be parsed (syntax error at or near "TABEL"' in caplog.text


@pytest.mark.parametrize(
    "statements",
    [
        ["SET search_path = public", "ANALYZE owners", "COMMENT ON TABLE owners IS 'x'"],
        [
            "CREATE TABLE made (id integer)",
            "CREATE INDEX made_id ON made (id)",
            "CREATE TYPE pair AS (a int)",
        ],
        ["CREATE TABLE IF NOT EXISTS owners (id integer)", "CREATE VIEW names AS SELECT name FROM owners"],
    ],
)
def test_what_changes_nothing_or_creates_something_does_not_bar_the_way_back(
    statements: list[str], project: Project, cluster: Cluster, database: str
) -> None:
    before = cluster.dump_schema(database)
    lines = [f"op.execute({sql!r})" for sql in statements]
    fails = "op.create_index('things_owner', 'things', ['owner_id'])\nop.execute('SELECT 1/0')"
    project.revision("\n".join([*lines, fails]))
    with pytest.raises(DBAPIError, match="division by zero"):
        project.upgrade()
    project.downgrade("r1")
    with cluster.connect(database) as connection:
        connection.execute("COMMENT ON TABLE owners IS NULL")
        assert connection.execute("SELECT count(*) FROM owners").fetchone() == (5,)
    assert cluster.dump_schema(database) == before


def test_rows_that_go_into_a_new_table_do_not_bar_the_way_back(
    project: Project, cluster: Cluster, database: str
) -> None:
    before = cluster.dump_schema(database)
    project.revision(
        "op.create_table('made', sa.Column('id', sa.Integer()))\n"
        "op.execute('INSERT INTO made SELECT id FROM things')\n"
        "op.create_index('things_owner', 'things', ['owner_id'])\nop.execute('SELECT 1/0')"
    )
    with pytest.raises(DBAPIError, match="division by zero"):
        project.upgrade()
    project.downgrade("r1")
    assert cluster.dump_schema(database) == before


def test_a_function_that_changes_something_is_not_taken_for_one_that_does_not(project: Project) -> None:
    with sa.create_engine(project.url, poolclass=sa.pool.NullPool).connect() as connection:
        assert changes_nothing(connection, classify("SELECT doubles(1), count(*) FROM owners"))
        for sql in ("SELECT writes()", "SELECT builds()", "SELECT adds_through_another()"):
            assert not changes_nothing(connection, classify(sql))


@pytest.mark.parametrize(
    ("statement", "valid"),
    [
        ("CREATE INDEX CONCURRENTLY things_name ON things (name)", True),
        ("CREATE INDEX CONCURRENTLY things_name ON things (name) WHERE name LIKE 'n%'", True),
        ("DROP INDEX CONCURRENTLY things_number", None),
    ],
)
def test_an_index_statement_in_an_autocommit_block_is_recognised_from_the_catalog(
    statement: str,
    valid: bool | None,  # noqa: FBT001
    project: Project,
    cluster: Cluster,
    database: str,
) -> None:
    with cluster.connect(database) as connection:
        connection.execute("CREATE INDEX things_number ON things (owner_id)")
    project.revision(
        f"with op.get_context().autocommit_block():\n    op.execute({statement!r})\n"
        "op.execute('SELECT 1 / (SELECT count(*) FROM owners WHERE id > 5)')"
    )
    with pytest.raises(DBAPIError, match="division by zero"):
        project.upgrade()
    with cluster.connect(database) as connection:
        # As when the migrator was killed between the statement and its record.
        connection.execute("UPDATE lockstep.operation SET done = 0 WHERE key LIKE '%CONCURRENTLY%'")
        connection.execute("INSERT INTO owners VALUES (6)")
    project.upgrade()
    with cluster.connect(database) as connection:
        name = statement.split()[3]
        row = connection.execute(
            "SELECT (SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s))", [name]
        ).fetchone()
    assert row == (valid,)
