"""Before a drop go its foreign keys and indexes, each in a step of its own that can be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, on_tables
from lockstep import LockstepError, Pace

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project
    from testing.cluster import Cluster

SCHEMA = """
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 5) n;
CREATE TABLE things (
    id integer PRIMARY KEY, name text, owner_id integer REFERENCES owners ON DELETE CASCADE, number integer
);
INSERT INTO things SELECT n, repeat('n', 100) || n, n % 5 + 1, n FROM generate_series(1, 8000) n;
CREATE INDEX things_owner ON things (owner_id);
CREATE INDEX things_upper ON things (upper(name)) WHERE owner_id > 2;
COMMENT ON INDEX things_owner IS 'whose';
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    return at_first_revision(on_tables(cluster, database, tmp_path, SCHEMA), "before")


@pytest.mark.parametrize(
    ("operation", "steps"),
    [
        ("op.drop_table('things')", ["things: drop foreign key things_owner_id_fkey", "things: drop"]),
        (
            "op.drop_column('things', 'owner_id')",
            [
                "things: drop foreign key things_owner_id_fkey",
                "things: drop index things_owner concurrently",
                "things: drop index things_upper concurrently",
                "things: drop column owner_id",
            ],
        ),
    ],
)
def test_foreign_keys_and_indexes_go_first_each_in_a_step_of_its_own(
    operation: str, steps: list[str], project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "alembic.lockstep")
    project.revision(operation)
    project.upgrade()
    ran = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert [message for message in ran if "drop" in message] == steps


@pytest.mark.parametrize("operation", ["op.drop_table('things')", "op.drop_column('things', 'owner_id')"])
def test_what_was_taken_away_comes_back_when_the_drop_does_not_get_through(
    operation: str, project: Project, cluster: Cluster, database: str
) -> None:
    before = cluster.dump_schema(database)
    project.revision(operation)
    with cluster.connect(database) as connection:
        connection.execute(
            "CREATE FUNCTION refuses() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type IN "
            "('table', 'table column')) THEN RAISE 'not today'; END IF; END $$;"
            "CREATE EVENT TRIGGER refuses ON sql_drop EXECUTE FUNCTION refuses()"
        )
    with pytest.raises((DBAPIError, LockstepError), match="not today"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("DROP EVENT TRIGGER refuses; DROP FUNCTION refuses()")
    project.downgrade("r1")
    assert cluster.dump_schema(database) == before


def test_a_drop_that_will_be_refused_takes_nothing_away(
    project: Project, cluster: Cluster, database: str
) -> None:
    with cluster.connect(database) as connection:
        connection.execute("CREATE VIEW owned AS SELECT owner_id FROM things")
    before = cluster.dump_schema(database)
    project.revision("op.drop_column('things', 'owner_id')")
    with pytest.raises(DBAPIError, match="depend"):
        project.upgrade()
    assert cluster.dump_schema(database) == before


def test_a_reader_of_the_referred_table_holds_up_no_more_than_the_foreign_key(
    project: Project, cluster: Cluster, database: str
) -> None:
    project.revision("op.drop_table('things')")
    with cluster.connect(database) as reader:
        reader.autocommit = False
        reader.execute("SELECT FROM owners")
        with pytest.raises(LockstepError, match="drop foreign key things_owner_id_fkey: gave up"):
            project.upgrade(pace=Pace(give_up_after=0.3))
        reader.rollback()
    project.upgrade()


@pytest.mark.parametrize(
    ("operation", "statistics"),
    [
        (
            "op.create_index('things_lower', 'things', [sa.text('lower(name)')])",
            "SELECT count(*) FROM pg_stats WHERE tablename = 'things_lower'",
        ),
        (
            "op.backfill('things', {'number': 7}, where='number <> 7')",
            "SELECT n_distinct FROM pg_stats WHERE tablename = 'things' AND attname = 'number'",
        ),
        (
            "op.add_column('things', sa.Column('u', sa.Uuid(), server_default=sa.text('gen_random_uuid()')))",
            "SELECT count(*) FROM pg_stats WHERE tablename = 'things' AND attname = 'u'",
        ),
    ],
)
def test_the_planner_knows_of_a_new_expression_and_of_what_was_filled(
    operation: str, statistics: str, project: Project, cluster: Cluster, database: str
) -> None:
    with cluster.connect(database) as connection:
        connection.execute("ALTER TABLE things SET (autovacuum_enabled = false)")
    project.revision(operation)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(statistics).fetchone() == (1,)
