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


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_ends_as_with_plain_alembic(cluster18: Cluster, tmp_path: Path, name: str) -> None:
    plain = shutil.copytree(EXAMPLES / name, tmp_path / "plain")
    migrations = plain / "migrations"
    (migrations / "env_before.py").rename(migrations / "env.py")
    with_lockstep = ends(cluster18, EXAMPLES / name)
    assert with_lockstep == ends(cluster18, plain)


def at_head(cluster: Cluster, folder: Path) -> str:
    """A database at the head of a project."""
    database = cluster.create_database()
    with cluster.connect(database) as connection:
        connection.execute((folder / "before.sql").read_bytes())
    url = cluster.url(database, "psycopg")
    status, output, errors = typed(folder, "alembic", "upgrade", "head", DATABASE_URL=url)
    assert status == 0, output + errors
    return url


@pytest.mark.parametrize("env", ["env.py", "env_before.py"])
def test_all_that_a_rich_env_gives_to_alembic_is_kept(cluster18: Cluster, tmp_path: Path, env: str) -> None:
    folder = shutil.copytree(EXAMPLES / "rich_env", tmp_path / "project")
    (folder / "migrations" / env).rename(folder / "migrations" / "env.py")
    url = at_head(cluster18, folder)
    autogenerate = ("revision", "--autogenerate", "-m", "more")
    versions = folder / "migrations" / "versions"
    assert typed(folder, "alembic", *autogenerate, DATABASE_URL=url)[0] == 0
    # No file for no difference: include_object, compare_type, the convention, process_revision_directives.
    assert {path.stem for path in versions.glob("*.py")} == {"r1", "r2"}
    models = folder / "models.py"
    models.write_text(models.read_text().replace('"day", sa.Date', '"paid", Money'))
    assert typed(folder, "alembic", *autogenerate, DATABASE_URL=url)[0] == 0
    (more,) = versions.glob("*_more.py")
    text = more.read_text()
    assert "from models import Money" in text  # render_item
    assert "op.add_column('visits', sa.Column('paid', Money(), nullable=True), schema='stats')" in text
    assert "old_people" not in text
    assert "lockstep" not in text


def test_init_leaves_a_rich_env_and_says_what_to_give_to_lockstep(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "rich_env", tmp_path / "project")
    env = folder / "migrations" / "env.py"
    before = (folder / "migrations" / "env_before.py").read_text()
    env.write_text(before)
    status, output, errors = typed(folder, "lockstep", "init")
    assert (status, env.read_text()) == (1, before)
    assert "lockstep.run(connection=engine)" in errors
    assert "What it gives to context.configure(), give to lockstep.run()" in errors
    assert "+import lockstep" in output
