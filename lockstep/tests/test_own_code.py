"""Before a revision's own code runs, which may take long, no lock is held on a table that others use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import SCHEMA
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18(SCHEMA)

#: The locks of the migrator's that keep readers or writers from the table.
HELD = (
    "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'books'::regclass "
    "AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
)


@pytest.mark.parametrize(
    "own_code",
    [
        f'op.execute("INSERT INTO seen {HELD}")',
        f'op.execute(sa.text("INSERT INTO seen {HELD}"))',
        f'op.get_bind().execute(sa.text("INSERT INTO seen {HELD}"))',
        f'for row in op.get_bind().execute(sa.text("{HELD}")).fetchall(): raise AssertionError(row)',
    ],
)
def test_no_lock_is_held_on_a_table_that_others_use_before_the_revisions_own_code(
    cluster18: Cluster, database: str, tmp_path: Path, own_code: str
) -> None:
    project = at_first_revision(Project(tmp_path / "project", cluster18.url(database, "psycopg")))
    with cluster18.connect(database) as connection:
        connection.execute("CREATE TABLE seen (mode text)")
    project.revision(f"op.add_column('books', sa.Column('shelf', sa.Integer()))\n{own_code}")
    with cluster18.connect(database) as connection:  # idle: it may come for the table at the next moment
        project.upgrade()
        assert connection.execute("SELECT mode FROM seen").fetchall() == []
