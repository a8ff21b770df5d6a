"""What a plan asks of the data, it asks of what a table will hold once the statements before have run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from databases import database18
from lockstep.plan.data import findings
from lockstep.plan.finding import Finding, Kind
from lockstep.plan.operation import PlannedOperation
from plan_reader import asked, looking, planned
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE notes (id integer PRIMARY KEY, a integer, b text);
INSERT INTO notes VALUES (1, 7, 'x'), (2, 7, 'y'), (3, NULL, 'y');
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners VALUES (1, 'x');
"""

database = database18(TABLES)


def sql(*statements: str, revision: str = "r1") -> list[PlannedOperation]:
    return [PlannedOperation(revision, "upgrade", None, statements, None)]


def found(cluster: Cluster, database: str, *statements: str, **limits: Any) -> list[Finding]:
    with looking(cluster, database) as connection:
        return findings(connection, sql(*statements), **limits)


def runs(cluster: Cluster, database: str, *statements: str) -> bool:
    """Whether PostgreSQL runs them."""
    copy = cluster.create_database(database)
    try:
        with cluster.connect(copy) as connection:
            for statement in statements:
                connection.execute(statement.encode())
    except Exception as error:  # noqa: BLE001  # whichever
        print(error)
        return False
    finally:
        cluster.drop_database(copy)
    return True


UNIQUE = "CREATE UNIQUE INDEX once ON notes (a)"
NOT_NULL = "ALTER TABLE notes ALTER COLUMN a SET NOT NULL"

FAILS = {
    "a renamed table": (
        "ALTER TABLE notes RENAME TO remarks", "CREATE UNIQUE INDEX once ON remarks (a)",
    ),
    "a renamed column": (
        "ALTER TABLE notes RENAME COLUMN a TO place", "ALTER TABLE notes RENAME TO remarks",
        "CREATE UNIQUE INDEX once ON remarks (place)",
    ),
    "two columns that change places": (
        "ALTER TABLE notes RENAME a TO c", "ALTER TABLE notes RENAME b TO a",
        "ALTER TABLE notes RENAME c TO b", UNIQUE,
    ),
    "a table that takes another's place": (
        "ALTER TABLE notes RENAME TO old", "ALTER TABLE owners RENAME TO notes",
        "ALTER TABLE notes RENAME name TO a", "CREATE UNIQUE INDEX once ON old (a)",
    ),
    "a fill that leaves NULLs": ("UPDATE notes SET a = 5 WHERE b = 'x'", NOT_NULL),
    "a fill with one value": ("UPDATE notes SET a = id", "UPDATE notes SET a = 3 WHERE id > 1", UNIQUE),
    "a fill of a new column": (
        "ALTER TABLE notes ADD COLUMN kind text", "UPDATE notes SET kind = upper(b) WHERE a = 7",
        "ALTER TABLE notes ALTER COLUMN kind SET NOT NULL",
    ),
    "a new column with a default": (
        "ALTER TABLE notes ADD COLUMN kind text DEFAULT 'x'", "CREATE UNIQUE INDEX once ON notes (kind)",
    ),
    "a change of type, then a check": (
        "ALTER TABLE notes ALTER COLUMN a TYPE text", "ALTER TABLE notes ADD CHECK (a = 'seven')",
    ),
    "rows that are deleted, but not all": ("DELETE FROM notes WHERE a IS NULL", UNIQUE),
    "a parent that is emptied": (
        "TRUNCATE owners", "UPDATE notes SET a = 1",
        "ALTER TABLE notes ADD FOREIGN KEY (a) REFERENCES owners",
    ),
    "a constraint that is dropped twice": (
        "ALTER TABLE notes DROP CONSTRAINT notes_pkey", "ALTER TABLE notes DROP CONSTRAINT notes_pkey",
    ),
    "a column that is dropped twice": (
        "ALTER TABLE notes DROP COLUMN a", "ALTER TABLE notes DROP COLUMN a",
    ),
    "a type that is made twice": (
        "CREATE TYPE mood AS ENUM ('a')", "CREATE TYPE mood AS ENUM ('b')",
    ),
    "a label that is added twice": (
        "CREATE TYPE mood AS ENUM ('a')", "ALTER TYPE mood ADD VALUE 'b'", "ALTER TYPE mood ADD VALUE 'b'",
    ),
}  # fmt: skip

GOES_THROUGH = {
    "duplicates that are deleted": ("DELETE FROM notes WHERE id = 2", UNIQUE),
    "NULLs that are filled": ("UPDATE notes SET a = 0 WHERE a IS NULL", NOT_NULL),
    "NULLs that are filled from another column": (
        "UPDATE notes SET a = coalesce(a, id), b = b || ' ' || a", NOT_NULL,
    ),
    "a new column that is filled": (
        "ALTER TABLE notes ADD COLUMN kind text", "UPDATE notes SET kind = upper(b)",
        "ALTER TABLE notes ALTER COLUMN kind SET NOT NULL",
    ),
    "a new column that is NULL": (
        "ALTER TABLE notes ADD COLUMN kind integer REFERENCES owners", "CREATE UNIQUE INDEX ON notes (kind)",
    ),
    "a new column that refers to a new table": (
        "CREATE TABLE kinds (id serial PRIMARY KEY, name text)", "ALTER TABLE notes ADD COLUMN kind integer",
        "ALTER TABLE notes ADD FOREIGN KEY (kind) REFERENCES kinds",
    ),
    "a table that is emptied": ("TRUNCATE notes", UNIQUE, NOT_NULL),
    "a constraint that is not validated": ("ALTER TABLE notes ADD CHECK (a > 7) NOT VALID",),
    "NOT NULL where it is already": ("ALTER TABLE notes ALTER COLUMN id SET NOT NULL",),
    "what is only made where it is not": (
        "ALTER TABLE notes ADD COLUMN IF NOT EXISTS a text", "CREATE TABLE IF NOT EXISTS notes (id text)",
        "CREATE UNIQUE INDEX IF NOT EXISTS notes_pkey ON notes (a)",
    ),
    "what is only dropped where it is": (
        "DROP TABLE IF EXISTS nothing", "ALTER TABLE notes DROP COLUMN IF EXISTS nothing",
        "ALTER TABLE notes DROP CONSTRAINT IF EXISTS nothing", "DROP INDEX IF EXISTS nothing",
    ),
    "a DO block that looks first": (
        "CREATE TYPE mood AS ENUM ('a')",
        "DO $$ BEGIN IF to_regtype('mood') IS NULL THEN CREATE TYPE mood AS ENUM ('a'); END IF; END $$",
        "DO $$ BEGIN ALTER TABLE notes ADD c text; EXCEPTION WHEN others THEN NULL; END $$",
        "ALTER TABLE notes ALTER c SET DEFAULT 'x'", "ALTER TABLE notes DROP COLUMN c",
    ),
    "what PostgreSQL has named": (
        "CREATE TABLE more (id serial PRIMARY KEY, a integer UNIQUE, CHECK (a > 0))",
        "ALTER TABLE more RENAME TO other", "ALTER SEQUENCE more_id_seq RENAME TO other_id_seq",
        "ALTER INDEX more_pkey RENAME TO other_pkey", "ALTER TABLE other DROP CONSTRAINT more_a_key",
        "ALTER TABLE notes ADD UNIQUE (id)", "ALTER TABLE notes DROP CONSTRAINT notes_id_key",
        "CREATE INDEX ON notes (a)", "DROP INDEX notes_a_idx",
    ),
    "a name that is free again": (
        "ALTER TABLE notes DROP CONSTRAINT notes_pkey", "CREATE INDEX notes_pkey ON notes (a)",
        "DROP TABLE owners", "CREATE TABLE owners (id integer)", "CREATE INDEX owners_pkey ON owners (id)",
    ),
    "a view that is dropped before its table": (
        "CREATE VIEW few AS SELECT a FROM notes", "DROP VIEW few", "DROP TABLE notes",
    ),
    "a table and its foreign key, dropped at once": (
        "ALTER TABLE notes ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES owners NOT VALID",
        "DROP TABLE owners, notes",
    ),
    "a type that is made again": (
        "CREATE TYPE mood AS ENUM ('a')", "DROP TYPE mood", "CREATE TYPE mood AS ENUM ('b')",
    ),
    "a label after another was renamed": (
        "CREATE TYPE mood AS ENUM ('a')", "ALTER TYPE mood RENAME VALUE 'a' TO 'b'",
        "ALTER TYPE mood ADD VALUE 'a'",
    ),
    "an index with its constraint": (
        "CREATE UNIQUE INDEX whole ON notes (id)",
        "ALTER TABLE notes DROP CONSTRAINT notes_pkey, ADD CONSTRAINT whole PRIMARY KEY USING INDEX whole",
        "ALTER TABLE notes DROP CONSTRAINT whole",
    ),
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("statements", FAILS.values(), ids=FAILS)
def test_what_fails_after_other_statements_is_found(
    statements: tuple[str, ...], cluster18: Cluster, database: str
) -> None:
    (finding,) = found(cluster18, database, *statements)
    assert finding.fails, finding
    assert not runs(cluster18, database, *statements)
    assert runs(cluster18, database, *statements[:-1])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("statements", GOES_THROUGH.values(), ids=GOES_THROUGH)
def test_what_goes_through_is_not_found(
    statements: tuple[str, ...], cluster18: Cluster, database: str
) -> None:
    assert found(cluster18, database, *statements) == []
    assert runs(cluster18, database, *statements)


NOT_KNOWN = {
    "revision r1 creates remarks first": (
        "CREATE TABLE remarks AS SELECT * FROM notes", "CREATE UNIQUE INDEX once ON remarks (a)",
    ),
    "revision r1 changes rows of notes first": (
        "DELETE FROM notes WHERE id NOT IN (SELECT min(id) FROM notes GROUP BY a)", UNIQUE,
    ),
    "revision r1 changes notes.a first": ("UPDATE notes SET a = floor(random() * 9)", NOT_NULL),
    "revision r1 adds kind first": (
        "ALTER TABLE notes ADD COLUMN kind uuid DEFAULT gen_random_uuid()",
        "CREATE UNIQUE INDEX ON notes (kind)",
    ),
    "revision r1 reads notes first, and may change its rows": ("SELECT id, a FROM notes", UNIQUE),
    "revision r1 runs SQL first that cannot be followed": (
        "DO $$ BEGIN EXECUTE format('DELETE FROM %I', 'no' || 'tes'); END $$", UNIQUE,
    ),
    "revision r1 may change notes first, in a DO block": (
        "DO $$ BEGIN IF true THEN DELETE FROM notes; END IF; END $$", UNIQUE,
    ),
    "revision r1 changes the type of a first": (
        "CREATE TYPE mood AS ENUM ('7')", "ALTER TABLE notes ALTER a TYPE mood USING a::text::mood", UNIQUE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("why", "statements"), NOT_KNOWN.items(), ids=NOT_KNOWN)
def test_what_cannot_be_known_before_is_said_to_be_so(
    why: str, statements: tuple[str, ...], cluster18: Cluster, database: str
) -> None:
    (finding,) = found(cluster18, database, *statements)
    assert finding.kind is Kind.NOT_KNOWN
    assert not finding.fails
    assert finding.says.startswith("whether ")
    assert why in finding.says


def test_a_backfill_is_followed(cluster18: Cluster, database: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(
        "op.add_column('notes', sa.Column('kind', sa.Text()))\n"
        "op.execute(\"UPDATE notes SET kind = coalesce(b, 'none') WHERE kind IS NULL\")\n"
        "op.alter_column('notes', 'kind', nullable=False)"
    )
    assert asked(cluster18, database, project) == []
    project.revision("op.create_unique_constraint('once', 'notes', ['kind'])")
    (finding,) = asked(cluster18, database, project)
    assert (finding.revision, finding.kind, finding.count) == ("r2", Kind.DUPLICATES, 2)
    assert finding.rows == ({"id": 2, "kind": "y"}, {"id": 3, "kind": "y"})
    assert [one.revision for one in planned(project)] == ["r1", "r2"]
    with pytest.raises(DBAPIError):
        project.upgrade(plain=True)


def test_a_large_table_is_not_looked_at(cluster18: Cluster, database: str) -> None:
    (finding,) = found(cluster18, database, UNIQUE, largest=100)
    assert finding.kind is Kind.NOT_LOOKED_AT
    assert "notes is larger than 100 bytes" in finding.says


def test_what_takes_long_is_not_looked_at(cluster18: Cluster, database: str) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO notes SELECT n, n FROM generate_series(10, 5000) n")
    check = "ALTER TABLE notes ADD CHECK (pg_sleep(0.001) IS NOT NULL)"
    (finding,) = found(cluster18, database, check, statement_timeout=0.05)
    assert finding.kind is Kind.NOT_LOOKED_AT
    assert "reading takes longer than 0.05 s (statement_timeout)" in finding.says


def test_what_the_role_may_not_read_is_not_looked_at(cluster18: Cluster, database: str) -> None:
    with looking(cluster18, database) as connection:
        with cluster18.connect(database) as owner:
            owner.execute(
                "REVOKE SELECT ON notes FROM plan_looker; ALTER TABLE owners ENABLE ROW LEVEL SECURITY"
            )
        told = findings(connection, sql(UNIQUE, "CREATE UNIQUE INDEX other ON owners (name)"))
    assert [one.kind for one in told] == [Kind.NOT_LOOKED_AT, Kind.NOT_LOOKED_AT]
    assert "this role may not read it: permission denied for table notes" in told[0].says
    assert "row-level security policy" in told[1].says


def test_a_table_that_is_locked_is_not_waited_for(
    cluster18: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockstep.plan.reading._LOCK_TIMEOUT", 0.05)
    with (
        looking(cluster18, database) as connection,
        cluster18.connect(database) as owner,
        owner.transaction(),
    ):
        owner.execute("LOCK notes")
        (finding,) = findings(connection, sql(UNIQUE))
    assert finding.kind is Kind.NOT_LOOKED_AT
    assert "others hold locks on it" in finding.says


def test_of_many_rows_that_cannot_be_converted_some_hundreds_are_counted(
    cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO notes SELECT n, n, 'text' FROM generate_series(10, 300) n")
    change = "ALTER TABLE notes ALTER b TYPE integer USING b::integer"
    (finding,) = found(cluster18, database, change)
    assert (finding.count, finding.at_least, len(finding.rows)) == (200, True, 5)
    assert "in notes at least 200 rows have a b that cannot be made int" in finding.says


@pytest.mark.parametrize("mode", ["transaction", "autocommit", "pooled"])
def test_the_connection_is_left_as_it_was(mode: str, cluster18: Cluster, database: str) -> None:
    with looking(cluster18, database) as connection:
        if mode == "autocommit":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")  # noqa: PLW2901
        if mode == "transaction":
            connection.execute(sa.text("SET LOCAL search_path = public, pg_catalog"))
        settings = "SELECT name, setting FROM pg_settings WHERE source = 'session'"
        before = connection.execute(sa.text(settings)).all()
        if mode == "pooled":
            connection.rollback()
        told = findings(connection, sql(UNIQUE, "ALTER TABLE notes ALTER b TYPE int USING b::int"))
        assert [one.kind for one in told] == [Kind.DUPLICATES, Kind.CONVERSION]
        if mode == "pooled":
            assert not connection.in_transaction()
        assert connection.execute(sa.text(settings)).all() == before


@pytest.mark.parametrize("path", ["Of Tenants,public", '"Of Tenants", public'])
def test_names_are_quoted_and_looked_up_in_the_revisions_search_path(
    path: str, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(
            'CREATE SCHEMA "Of Tenants"; CREATE TABLE "Of Tenants"."No""tes" '
            '("Id" integer PRIMARY KEY, "a b" text);'
            """INSERT INTO "Of Tenants"."No""tes" VALUES (1, 'o''k'), (2, 'o''k')"""
        )
    statement = 'CREATE UNIQUE INDEX "On ce" ON "No""tes" (lower("a b"))'
    operation = PlannedOperation("r1", "upgrade", None, (statement,), None, path)
    with looking(cluster18, database) as connection:
        (finding,) = findings(connection, [operation])
    assert (finding.table, finding.count) == ('Of Tenants.No"tes', 2)
    assert finding.rows == ({"Id": 1, "a b": "o'k"}, {"Id": 2, "a b": "o'k"})
