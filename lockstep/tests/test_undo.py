"""What is taken back is what was done, and no more: IF [NOT] EXISTS on what was there, failed validations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, on_tables
from lockstep import LockstepError

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project
    from testing.cluster import Cluster

#: Large enough for an index to be built in a step of its own: what comes before it is committed.
SCHEMA = """
CREATE TABLE things (id integer PRIMARY KEY, name text, owner_id integer, note text);
INSERT INTO things SELECT n, repeat('n', 100) || n, CASE WHEN n < 8000 THEN n % 5 + 1 ELSE 77 END
FROM generate_series(1, 8000) n;
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 5) n;
CREATE INDEX things_name ON things (name);
CREATE INDEX owners_name ON owners (name);
"""
FAILS = "op.create_index('things_owner', 'things', ['owner_id'])\nop.execute('SELECT 1/0')"


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    return at_first_revision(on_tables(cluster, database, tmp_path, SCHEMA), "before")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "operation",
    [
        "op.create_table('owners', sa.Column('id', sa.Integer(), primary_key=True), if_not_exists=True)",
        "op.add_column('things', sa.Column('note', sa.Text()), if_not_exists=True)",
        "op.add_column('owners', sa.Column('name', sa.Text()), if_not_exists=True)",
        "op.create_index('things_name', 'things', ['name'], if_not_exists=True)",
        "op.create_index('owners_name', 'owners', ['name'], if_not_exists=True)",
        "op.drop_table('nothing', if_exists=True)",
        "op.drop_column('owners', 'nothing', if_exists=True)",
        "op.drop_index('nothing', 'owners', if_exists=True)",
        "op.drop_constraint('nothing', 'owners', if_exists=True)",
    ],
)
def test_what_was_there_before_a_half_done_revision_is_there_after_it_is_taken_back(
    operation: str, project: Project, cluster: Cluster, database: str
) -> None:
    before = cluster.dump_schema(database)
    project.revision(f"{operation}\n{FAILS}")
    with pytest.raises(DBAPIError, match="division by zero"):
        project.upgrade()
    project.downgrade("r1")
    assert cluster.dump_schema(database) == before
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM owners").fetchone() == (5,)


def test_a_table_that_was_there_is_changed_like_one_in_use(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "alembic.lockstep")
    project.revision(
        "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True), if_not_exists=True)\n"
        "op.create_index('things_owner', 'things', ['owner_id'])"
    )
    project.upgrade()
    assert "build index things_owner concurrently" in caplog.text


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (
            "op.create_foreign_key('things_owner_fk', 'things', 'owners', ['owner_id'], ['id'])",
            '"things_owner_fk"',
        ),
        ("op.create_check_constraint('things_check', 'things', 'owner_id < 70')", '"things_check"'),
        (
            "op.alter_column('things', 'note', nullable=False)",
            'column "note" of relation "things" contains null values',
        ),
        (
            "op.add_column('things', sa.Column('c', sa.Integer(), "
            "sa.CheckConstraint('c > 0', name='c_check'), server_default='0'))",
            '"c_check"',
        ),
    ],
)
def test_a_failed_validation_leaves_nothing_that_refuses_writes(
    operation: str, message: str, project: Project, cluster: Cluster, database: str
) -> None:
    project.revision(operation)
    with pytest.raises((DBAPIError, LockstepError), match=message) as raised:
        project.upgrade()
    assert "lockstep_" not in str(raised.value)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE things SET name = name || 'x' WHERE id >= 7999")
        connection.execute("INSERT INTO things VALUES (9000, 'n', 77, NULL)")
        left = connection.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'things'::regclass AND NOT convalidated"
        ).fetchall()
    assert left == []


def test_after_a_failed_validation_the_revision_goes_on_once_the_rows_are_put_right(
    project: Project, cluster: Cluster, database: str
) -> None:
    project.revision(
        "op.create_index('things_owner', 'things', ['owner_id'])\n"
        "op.create_foreign_key('things_owner_fk', 'things', 'owners', ['owner_id'], ['id'])"
    )
    with pytest.raises(DBAPIError, match="things_owner_fk"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE things SET owner_id = NULL WHERE owner_id = 77")
    project.upgrade()
    with cluster.connect(database) as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("INSERT INTO things VALUES (9000, 'n', 77, NULL)")


def test_a_default_is_there_before_not_null_asks_for_a_value(
    project: Project, cluster: Cluster, database: str
) -> None:
    """The validation waits behind an index build; what is inserted meanwhile gets the default."""
    with cluster.connect(database) as connection:
        connection.execute("UPDATE things SET note = 'n' WHERE id > 1")
    project.revision("op.alter_column('things', 'note', nullable=False, server_default='none')")
    with pytest.raises((DBAPIError, LockstepError), match="null values"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("INSERT INTO things (id) VALUES (9000)")
        row = connection.execute("SELECT note FROM things WHERE id = 9000").fetchone()
    assert row == ("none",)
