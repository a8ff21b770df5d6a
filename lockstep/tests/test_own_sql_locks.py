"""SQL of a revision's own, however it is sent: it does not queue behind others, nor hold a lock for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, database18
from lockstep import LockstepError, Pace
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

REWRITE = "ALTER TABLE things ALTER id TYPE bigint"
database = database18(f"""
CREATE TABLE things (id integer PRIMARY KEY, name text);
INSERT INTO things SELECT n, repeat('n', 100) || n FROM generate_series(1, 4000) n;
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 5) n;
CREATE FUNCTION rewrites() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {REWRITE}; END $$;
CREATE FUNCTION rewrites_through_another() RETURNS void LANGUAGE sql AS 'SELECT rewrites()';
CREATE FUNCTION adds_column() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN ALTER TABLE owners ADD COLUMN extra integer; END $$;
CREATE FUNCTION builds() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN EXECUTE format('ALTER TABLE owners ADD COLUMN %I integer', 'extra'); END $$;
CREATE PROCEDURE calls() LANGUAGE plpgsql AS 'BEGIN PERFORM builds(); END';
""")

WAYS = {
    "op.execute": "op.execute({!r})",
    "get_bind": "op.get_bind().execute(sa.text({!r}))",
    "driver": "op.get_bind().exec_driver_sql({!r})",
    "autocommit": "with op.get_context().autocommit_block(): op.execute({!r})",
    "op.execute in a savepoint": "with op.get_bind().begin_nested(): op.execute({!r})",
    "get_bind in a savepoint": "with op.get_bind().begin_nested() as _: op.get_bind().execute(sa.text({!r}))",
    "get_bind in autocommit": "with op.get_context().autocommit_block(): op.get_bind().exec_driver_sql({!r})",
}
SENT = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    return at_first_revision(Project(tmp_path / "project", cluster18.url(database, "psycopg")), "before")


@pytest.mark.one_in(4)
@SENT
@pytest.mark.parametrize(
    "sql",
    [
        REWRITE,
        f"UPDATE owners SET id = id; {REWRITE}",
        "SELECT rewrites()",
        "SELECT rewrites_through_another()",
        "DO $$ BEGIN PERFORM rewrites(); END $$",
        f"DO $$ BEGIN EXECUTE '{REWRITE}'; END $$",
        "CREATE INDEX ON things (name)",
        "VACUUM FULL things",
    ],
)
def test_what_holds_a_lock_for_long_is_refused_however_it_is_sent(
    sql: str, way: str, project: Project, cluster18: Cluster, database: str
) -> None:
    before = cluster18.dump_schema(database)
    project.revision(way.format(sql))
    with pytest.raises(LockstepError, match=r"things under a lock(?s:.*)with lockstep.plain\(\):"):
        project.upgrade()
    assert cluster18.dump_schema(database) == before


@pytest.mark.one_in(4)
@SENT
@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE owners ADD COLUMN extra integer",
        "UPDATE owners SET id = id; ALTER TABLE owners ADD COLUMN extra integer",
        "SELECT adds_column()",
        "SELECT builds()",
        "CALL calls()",
        "DO $$ BEGIN PERFORM adds_column(); END $$",
        "LOCK TABLE owners; SELECT 1",
    ],
)
def test_what_locks_a_table_does_not_queue_behind_its_readers(
    sql: str, way: str, project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(way.format(sql))
    with cluster18.connect(database, autocommit=False) as reader, cluster18.connect(database) as service:
        reader.execute("SELECT FROM owners")
        with pytest.raises((LockstepError, DBAPIError), match=r"gave up|lock timeout"):
            project.upgrade(pace=Pace(give_up_after=0.2))
        service.execute("SET lock_timeout = '20ms'; SELECT count(*) FROM owners")
        reader.rollback()
    project.upgrade()


@pytest.mark.parametrize("sql", ["VACUUM FULL owners", "VACUUM (FULL, ANALYZE) owners", "CLUSTER"])
@pytest.mark.parametrize("way", [way for way in WAYS if "autocommit" in way])
def test_what_cannot_run_in_a_transaction_does_not_queue_either(
    sql: str, way: str, project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(WAYS[way].format(sql))
    with cluster18.connect(database, autocommit=False) as reader, cluster18.connect(database) as service:
        service.execute("CLUSTER owners USING owners_pkey")
        reader.execute("SELECT FROM owners")
        with pytest.raises((LockstepError, DBAPIError), match=r"gave up|lock timeout"):
            project.upgrade(pace=Pace(give_up_after=0.2))
        service.execute("SET lock_timeout = '20ms'; SELECT count(*) FROM owners")
        reader.rollback()
    project.upgrade()


@pytest.mark.parametrize("way", ["op.execute({!r})", "op.get_bind().exec_driver_sql({!r})"])
def test_a_table_that_the_revision_makes_by_sql_is_nobodys_yet(way: str, project: Project) -> None:
    makes = (
        "CREATE TABLE made AS SELECT * FROM things",
        "CREATE INDEX ON made (name)",
        "ALTER TABLE made ALTER id TYPE bigint",
    )
    project.revision("\n".join(way.format(sql) for sql in makes))
    project.upgrade()


@pytest.mark.parametrize("sql", [REWRITE, "SELECT rewrites()"])
@SENT
def test_a_plain_block_runs_it(way: str, sql: str, project: Project) -> None:
    lines = way.format(sql)
    project.revision(f"with lockstep.plain():\n    {lines}")
    project.upgrade()
