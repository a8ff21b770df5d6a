"""Taking back a half-done upgrade keeps what people wrote meanwhile into what it had added."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from cases import ROWS, SCHEMA
from databases import on_tables
from lockstep.commands.main import main
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project
    from testing.cluster import Cluster

UP = """
op.create_table('tags', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('word', sa.Text()))
op.add_column('tags', sa.Column('later', sa.Text()))
op.add_column('posts', sa.Column('kind', sa.Text()))
op.add_column('posts', sa.Column('rank', sa.Integer(), server_default='5'))
op.add_column('kept', sa.Column('token', sa.Text(), server_default=sa.text('clock_timestamp()::text')))
op.backfill('posts', {'kind': sa.text("'auto ' || id")}, where='kind IS NULL')
op.create_check_constraint('loose_a', 'loose', 'a < 400')
"""
DOWN = """
op.drop_constraint('loose_a', 'loose')
op.drop_column('kept', 'token')
op.drop_column('posts', 'rank')
op.drop_column('posts', 'kind')
op.drop_table('tags')
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS, short_way=False)
    project.revision(UP, DOWN)
    return project


def _half_done(project: Project, cluster: Cluster, database: str) -> None:
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute(
            "INSERT INTO tags (word, later) SELECT 'w' || n, 'l' || n FROM generate_series(1, 9) n"
        )
        connection.execute("UPDATE posts SET kind = 'by hand' WHERE id <= 10")
        connection.execute("UPDATE posts SET rank = id WHERE id > 1990")


def _put_right(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as connection:
        connection.execute("DELETE FROM loose WHERE a >= 400")


def test_it_is_given_back_when_the_revision_runs_again(
    project: Project, cluster: Cluster, database: str
) -> None:
    project.downgrade("base")  # makes Alembic's own table
    catalog, rows = catalog_of(cluster, database), rows_of(cluster, database)
    _half_done(project, cluster, database)
    project.downgrade("base")
    assert catalog_of(cluster, database) == catalog
    assert rows_of(cluster, database) == rows
    _put_right(cluster, database)
    # A corrected file fills what people did not write.
    project.count = 0
    project.revision(UP.replace("'auto ' || id", "'corrected ' || id"), DOWN)
    project.upgrade()
    with cluster.connect(database) as connection:
        tags = connection.execute("SELECT count(*) FROM tags WHERE word = 'w' || id AND later = 'l' || id")
        assert tags.fetchone() == (9,)
        kinds = "WHERE kind = CASE WHEN id <= 10 THEN 'by hand' ELSE 'corrected ' || id END"
        assert connection.execute(f"SELECT count(*) FROM posts {kinds}").fetchone() == (2000,)
        ranks = "WHERE rank = CASE WHEN id > 1990 THEN id ELSE 5 END"
        assert connection.execute(f"SELECT count(*) FROM posts {ranks}").fetchone() == (2000,)
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)


def test_nothing_is_kept_where_nobody_wrote_anything(
    project: Project, cluster: Cluster, database: str
) -> None:
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    project.downgrade("base")
    with cluster.connect(database) as connection:
        found = connection.execute("SELECT table_name, column_name FROM lockstep.archive").fetchall()
    assert found == [("kept", "token")]  # each value was made up once, and is not made again


def test_what_is_written_while_it_is_taken_back_is_kept_too(
    project: Project, cluster: Cluster, database: str
) -> None:
    _half_done(project, cluster, database)
    project.downgrade("base")
    _put_right(cluster, database)
    project.upgrade()
    project.downgrade("base")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM posts WHERE kind = 'by hand'").fetchone() == (10,)
        assert connection.execute("SELECT count(*), max(id) FROM tags").fetchone() == (9, 9)
        assert connection.execute("INSERT INTO tags (word) VALUES ('x') RETURNING id").fetchone() == (10,)


def _command(project: Project, folder: Path, *arguments: str) -> str:
    (project.folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = folder / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    return CliRunner().invoke(main, ["archive", *arguments, "-c", str(ini)]).output


def test_what_a_half_done_revision_may_need_is_not_purged(
    project: Project, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    _half_done(project, cluster, database)
    project.downgrade("base")
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    assert "the upgrade of revision r1 is half done" in _command(project, tmp_path, "purge", "--yes")
    _put_right(cluster, database)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM tags").fetchone() == (9,)


def test_what_is_kept_of_an_earlier_database_is_listed_as_such(
    project: Project, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    _half_done(project, cluster, database)
    project.downgrade("base")
    with cluster.connect(database) as connection:
        connection.execute("UPDATE lockstep.archive SET version_table = version_table || ' (gone, oid 7)'")
    _put_right(cluster, database)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM tags").fetchone() == (0,)
    told = json.loads(_command(project, tmp_path, "--json"))
    assert {(one["what"], one["state"]) for one in told} >= {("tags", "kept, of an earlier database")}
    assert "removed" in _command(project, tmp_path, "purge", "--yes")
    assert _command(project, tmp_path) == "nothing is kept\n"


def test_a_null_that_was_written_beside_a_default_is_given_back(
    project: Project, cluster: Cluster, database: str
) -> None:
    _half_done(project, cluster, database)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE posts SET rank = NULL WHERE id IN (3, 4)")
    project.downgrade("base")
    _put_right(cluster, database)
    project.upgrade()
    with cluster.connect(database) as connection:
        found = connection.execute("SELECT id FROM posts WHERE rank IS NULL ORDER BY id").fetchall()
    assert found == [(3,), (4,)]
