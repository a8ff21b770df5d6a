"""What has the name that a revision gives to something else stays, wherever the migrator is stopped."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, database18
from killing import counted, in_child
from lockstep import LockstepError
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

SCHEMA = """
CREATE TABLE owners (id integer PRIMARY KEY);
INSERT INTO owners SELECT generate_series(1, 10);
CREATE TABLE things (
    id integer PRIMARY KEY, owner_id integer CONSTRAINT key REFERENCES owners, note text, taken text,
    CONSTRAINT checked CHECK (id > 0), CONSTRAINT once UNIQUE (id, note)
);
CREATE INDEX indexed ON things (note);
INSERT INTO things SELECT n, n % 10 + 1, 'note', 'taken' || n FROM generate_series(1, 3000) n;
"""

OPERATIONS = {
    "a check": "op.create_check_constraint('checked', 'things', 'id > -1')",
    "a foreign key": "op.create_foreign_key('key', 'things', 'owners', ['id'], ['id'])",
    "a unique constraint": "op.create_unique_constraint('once', 'things', ['id'])",
    "an index": "op.create_index('indexed', 'things', ['taken'])",
    "a unique index": "op.create_index('indexed', 'things', ['taken'], unique=True)",
    "a column": "op.add_column('things', sa.Column('taken', sa.Text(), server_default='x', nullable=False))",
    "a column with a value for each row": (
        "op.add_column('things', "
        "sa.Column('taken', sa.Text(), server_default=sa.text('clock_timestamp()::text')))"
    ),
    "a table": "op.create_table('owners', sa.Column('id', sa.Integer()))",
    "a column renamed": "op.alter_column('things', 'note', new_column_name='taken')",
    "a table renamed": "op.rename_table('things', 'owners')",
}

database = database18(SCHEMA)


@pytest.mark.one_in(12)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_what_has_the_name_stays_wherever_the_migrator_is_stopped(
    operation: str, cluster18: Cluster, database: str, tmp_path: Path, *, short_way: bool
) -> None:
    project = at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    )
    project.revision(f"op.add_column('owners', sa.Column('before', sa.Text()))\n{operation}",
                     "op.drop_column('owners', 'before')")  # fmt: skip
    before = catalog_of(cluster18, database), rows_of(cluster18, database)

    def kill(_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def upgrade(to: str) -> None:
        with suppress(DBAPIError, LockstepError):
            project.upgrade("head", cluster18.url(to, "psycopg"))

    whole = cluster18.create_database(database)
    with cluster18.connect() as connection:
        points = counted(lambda: upgrade(whole), connection)
    cluster18.drop_database(whole)
    for at in points.of_death(random.Random(f"{os.environ['LOCKSTEP_SEED']} {operation}")):
        struck = cluster18.create_database(database)
        in_child(lambda: upgrade(struck), kill, at)  # noqa: B023  # run at once
        for way in ("down", "up", "down"):
            with suppress(DBAPIError, LockstepError):
                url = cluster18.url(struck, "psycopg")
                project.upgrade("head", url) if way == "up" else project.downgrade("r1", url)
        assert (catalog_of(cluster18, struck), rows_of(cluster18, struck)) == before, f"struck at {at}"
        cluster18.drop_database(struck)
    assert len(points) > 5
