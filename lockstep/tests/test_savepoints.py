"""Operations inside a savepoint of the revision's own: nothing can be committed there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cases import ROWS, SCHEMA
from databases import on_tables
from lockstep import LockstepError
from project import Project
from state import catalog_of, rows_of
from test_locks import Told, told, under_way

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

__all__ = ["told"]  # a fixture

IN_SAVEPOINTS = """
bind = op.get_bind()
op.add_column('posts', sa.Column('color', sa.Text()))
with bind.begin_nested():
    op.create_index('posts_color', 'posts', ['color'])
    op.create_check_constraint('posts_red', 'posts', "color <> 'red'")
try:
    with bind.begin_nested():
        op.create_index('posts_nothing', 'posts', ['nothing'])
except sa.exc.DBAPIError:
    op.create_index('posts_body', 'posts', [sa.text('md5(body)')])
"""


def test_they_run_as_written_and_the_revision_goes_on(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, online = cluster.create_database(), cluster.create_database()
    project = Project(tmp_path / "project", "")
    project.revision(IN_SAVEPOINTS)
    for database in (plain, online):
        with cluster.connect(database) as connection:
            connection.execute(SCHEMA + ROWS)
        project.upgrade("head", cluster.url(database, "psycopg"), plain=database == plain)
    assert catalog_of(cluster, online) == catalog_of(cluster, plain)
    assert "inside a savepoint of the revision's own, so it runs as plain Alembic does" in caplog.text
    cluster.drop_database(plain)
    cluster.drop_database(online)


@pytest.mark.parametrize("drop", ["op.drop_column('posts', 'title')", "op.drop_table('votes')"])
def test_a_downgrade_loses_nothing_there_and_says_what_to_do(
    drop: str, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision("pass", f"with op.get_bind().begin_nested():\n    {drop}")
    project.upgrade()
    before = rows_of(cluster, database)
    with pytest.raises(LockstepError, match=re.escape("inside a savepoint (begin_nested)")):
        project.downgrade("base")
    assert rows_of(cluster, database) == before


def test_an_upgrade_says_that_it_cannot_give_back_there(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision(
        "with op.get_bind().begin_nested():\n    op.add_column('posts', sa.Column('color', sa.Text()))",
        "op.drop_column('posts', 'color')",
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE posts SET color = 'red'")
    project.downgrade("base")
    with pytest.raises(LockstepError, match="the values that a downgrade kept cannot be given back"):
        project.upgrade()


@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
@pytest.mark.parametrize(
    "change",
    ["op.add_column('posts', sa.Column('x', sa.Integer()))", "bind.execute(sa.text('LOCK TABLE posts'))"],
)
def test_a_lock_that_is_not_had_there_is_no_reason_to_take_another_path(
    change: str, *, short_way: bool, cluster: Cluster, database: str, tmp_path: Path, told: Told
) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision(
        f"bind = op.get_bind()\ntry:\n    with bind.begin_nested():\n        {change}\nexcept Exception:\n"
        "    op.create_table('another_path', sa.Column('id', sa.Integer()))"
    )
    with cluster.connect(database, autocommit=False) as reader, cluster.connect(database) as service:
        reader.execute("SELECT FROM posts")
        with under_way(lambda: project.upgrade(short_way=short_way)):
            told.wait_for("did not get its lock")
            service.execute("SET lock_timeout = '500ms'; SELECT count(*) FROM posts")
            reader.rollback()
        assert service.execute("SELECT to_regclass('another_path')").fetchone() == (None,)
