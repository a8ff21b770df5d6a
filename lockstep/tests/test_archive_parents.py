"""A column that refers to a table of the same revision: both are dropped and given back together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import on_tables
from project import Project, edit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

FOLDERS = (
    "op.create_table('folders', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('n', sa.Text()))"
)
COLUMN = f"{FOLDERS}\nop.add_column('chats', sa.Column('folder_id', sa.Integer()))"
KEY = "op.create_foreign_key('chats_folder', 'chats', 'folders', ['folder_id'], ['id'])"
BY_HAND = "ALTER TABLE chats ADD CONSTRAINT chats_folder FOREIGN KEY (folder_id) REFERENCES folders"
UPGRADES = {
    "a key": f"{COLUMN}\n{KEY}",
    "a key of the column": f"{FOLDERS}\nop.add_column('chats', sa.Column('folder_id', sa.Integer(), "
    "sa.ForeignKey('folders.id', name='chats_folder')))",
    "a key in SQL": f"{COLUMN}\nop.execute('{BY_HAND}')",
}
DROPS = "op.drop_column('chats', 'folder_id')\nop.drop_table('folders')"
DOWNGRADES = {"its key first": f"op.drop_constraint('chats_folder', 'chats')\n{DROPS}", "at once": DROPS}


@pytest.fixture
def database(cluster18: Cluster) -> Iterator[str]:
    name = cluster18.create_database()
    with cluster18.connect(name) as connection:
        connection.execute(
            "CREATE TABLE chats (id serial PRIMARY KEY, name text);"
            "INSERT INTO chats (name) VALUES ('one'), ('two'), ('three')"
        )
    yield name
    cluster18.drop_database(name)


def _write(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as connection:
        connection.execute("INSERT INTO folders VALUES (7, 'seven'), (8, 'eight')")
        connection.execute("UPDATE chats SET folder_id = id + 5 WHERE id > 1")


def _chats(cluster: Cluster, database: str) -> list[tuple[int, str | None]]:
    with cluster.connect(database) as connection:
        return connection.execute(
            "SELECT chats.id, n FROM chats LEFT JOIN folders ON folders.id = folder_id ORDER BY 1"
        ).fetchall()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "in steps"])
@pytest.mark.parametrize(
    ("up", "down"),
    [("a key", "its key first"), ("a key", "at once"), ("a key of the column", "its key first"),
     ("a key in SQL", "its key first")],
)  # fmt: skip
def test_rows_refer_to_the_rows_that_come_back_with_them(
    cluster18: Cluster, database: str, tmp_path: Path, up: str, down: str, *, short_way: bool
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision(UPGRADES[up], DOWNGRADES[down])
    project.upgrade()
    _write(cluster18, database)
    project.downgrade("base")
    project.upgrade()
    assert _chats(cluster18, database) == [(1, None), (2, "seven"), (3, "eight")]


def test_so_they_do_where_a_half_done_upgrade_was_taken_back(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    project.revision(f"{COLUMN}\n{KEY}\nbroken()", DOWNGRADES["its key first"])
    with pytest.raises(NameError):
        project.upgrade()
    _write(cluster18, database)
    project.downgrade("base")
    file = project.folder / "versions" / "r1.py"
    file.write_text(file.read_text().replace("broken()", "pass"))
    project.upgrade()
    assert _chats(cluster18, database) == [(1, None), (2, "seven"), (3, "eight")]


def test_a_value_in_whose_place_the_revision_puts_its_own_is_set_aside_and_told(
    cluster18: Cluster, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    fill = (
        "op.execute(\"INSERT INTO folders VALUES (1, 'all')\")\n"
        "op.execute('UPDATE chats SET folder_id = 1 WHERE folder_id IS NULL')\n"
        "op.alter_column('chats', 'folder_id', nullable=False)"
    )
    project.revision(f"{COLUMN}\n{fill}\n{KEY}", DOWNGRADES["its key first"])
    project.upgrade()
    _write(cluster18, database)
    project.downgrade("base")
    project.upgrade()
    assert _chats(cluster18, database) == [(1, "all"), (2, "all"), (3, "all")]
    assert "the row has another value now: 1" in caplog.text


def test_a_downgrade_that_was_stopped_after_its_foreign_key_keeps_values_that_come_back(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster18, database, tmp_path, "CREATE TABLE t (id integer PRIMARY KEY)")
    project.revision(
        "op.add_column('t', sa.Column('v', sa.Integer()))\n"
        "op.create_table('p', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.create_foreign_key('t_p', 't', 'p', ['v'], ['id'])",
        "op.drop_constraint('t_p', 't')\nop.execute('SELECT 1 / 0')\n"
        "op.drop_column('t', 'v')\nop.drop_table('p')",
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO p VALUES (7); INSERT INTO t VALUES (1, 7)")
    with pytest.raises(sa.exc.DBAPIError):
        project.downgrade("base", short_way=False)
    edit(project, "r1", "op.execute('SELECT 1 / 0')", "pass")
    project.downgrade("base", short_way=False)
    project.upgrade(short_way=False)
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT id, v FROM t").fetchall() == [(1, 7)]
