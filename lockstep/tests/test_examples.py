"""The projects in lockstep/examples, up and down, as plain Alembic and Lockstep run them: the same ends."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import typed
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from testing.cluster import Cluster

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "migrations").is_dir())


def ends(cluster: Cluster, folder: Path) -> list[object]:
    """What a project leaves at its head, taken down to the first revision, up again, and at base."""
    database = cluster.create_database()
    before = folder / "before.sql"
    if before.exists():
        with cluster.connect(database) as connection:
            connection.execute(before.read_bytes())
    found: list[object] = []
    try:
        for *command, to in (
            ["upgrade", "heads"],
            ["downgrade", "r1"],
            ["upgrade", "heads"],
            ["downgrade", "base"],
        ):
            flask = (folder / "app.py").exists()
            status, output, errors = typed(
                folder,
                "flask" if flask else "alembic",
                *(["db"] if flask else []),
                *command,
                to,
                DATABASE_URL=cluster.url(database, "psycopg"),
            )
            assert status == 0, output + errors
            found.append((catalog_of(cluster, database), rows_of(cluster, database)))
    finally:
        cluster.drop_database(database)
    return found


def test_there_are_eight_of_them() -> None:
    assert len(NAMES) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_an_example_ends_as_with_plain_alembic(cluster18: Cluster, tmp_path: Path, name: str) -> None:
    plain = shutil.copytree(EXAMPLES / name, tmp_path / "plain")
    migrations = plain / "migrations"
    (migrations / "env_before.py").rename(migrations / "env.py")
    with_lockstep = ends(cluster18, EXAMPLES / name)
    assert with_lockstep == ends(cluster18, plain)
