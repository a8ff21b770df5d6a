"""Killed between what is committed and what comes next: it goes on, or the other way, and nothing is lost."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from databases import at_first_revision, database18
from killing import in_child
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18("""
CREATE TABLE account (id integer PRIMARY KEY, v integer NOT NULL);
INSERT INTO account SELECT n, n FROM generate_series(1, 50) n;
""")

UP = """
op.add_column('account', sa.Column('color', sa.Text()))
op.backfill('account', {'color': 'gray'})
op.create_check_constraint('named', 'account', "color <> ''")
op.create_index('by_color', 'account', ['color'])
op.alter_column('account', 'v', type_=sa.BigInteger())
"""
DOWN = """
op.alter_column('account', 'v', type_=sa.Integer())
op.drop_index('by_color', 'account')
op.drop_constraint('named', 'account')
op.drop_column('account', 'color')
"""
COLUMNS = "SELECT id, v, color FROM account WHERE color <> 'gray' ORDER BY id"

#: Which way is killed, before the first statement that has this text.
KILLED = {
    "before a fill": ("upgrade", 'UPDATE ONLY public.account SET "color"'),
    "before a check is added": ("upgrade", "ADD CONSTRAINT named"),
    "before a check is validated": ("upgrade", "VALIDATE CONSTRAINT"),
    "before an index is built": ("upgrade", "CREATE INDEX CONCURRENTLY"),
    "before a shadow is filled": ("upgrade", 'UPDATE ONLY public.account SET "lockstep_2_v"'),
    "before the columns change places": ("upgrade", 'DROP COLUMN "v"'),
    "before an index is dropped": ("downgrade", "DROP INDEX CONCURRENTLY"),
    "before a constraint is dropped": ("downgrade", "DROP CONSTRAINT"),
    "before what is dropped is kept": ("downgrade", 'INSERT INTO "lockstep_archive"'),
    "between drop_constraint and drop_column": ("downgrade", "DROP COLUMN color"),
}


def _kill(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("then", ["on", "back"])
@pytest.mark.parametrize(("direction", "before"), KILLED.values(), ids=KILLED)
def test_it_ends_as_if_nobody_had_been_killed(
    direction: str, before: str, then: str, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )
    rows = rows_of(cluster18, database)
    project.revision(UP, DOWN)
    ways = {"upgrade": partial(project.upgrade, "head"), "downgrade": partial(project.downgrade, "r1")}
    other = {"upgrade": "downgrade", "downgrade": "upgrade"}
    if direction == "downgrade":
        project.upgrade()
        with cluster18.connect(database) as connection:
            connection.execute("UPDATE account SET color = 'red' WHERE id = 7")
    assert in_child(ways[direction], _kill, before) == (0, True), "nobody was killed"
    way = direction if then == "on" else other[direction]
    for _ in range(3):
        ways[way]()
        assert "lockstep" not in str(catalog_of(cluster18, database))
        if way == "downgrade":
            assert rows_of(cluster18, database) == rows
        else:
            with cluster18.connect(database) as connection:
                kept = [(7, 7, "red")] if direction == "downgrade" else []
                assert connection.execute(COLUMNS).fetchall() == kept
                assert connection.execute("SELECT count(*) FROM account").fetchone() == (50,)
        way = other[way]
