"""``lockstep init``: Alembic's templates are written anew, other files are shown what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import typed
from databases import database18
from lockstep.commands.env_file import adopted

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18()


def template(folder: Path, name: str) -> Path:
    assert typed(folder, "alembic", "init", "-t", name, "migrations")[0] == 0
    return folder / "migrations" / "env.py"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["generic", "async", "pyproject", "pyproject_async"])
def test_a_template_is_adopted_and_runs(tmp_path: Path, cluster18: Cluster, database: str, name: str) -> None:
    env = template(tmp_path, name)
    status, output, _ = typed(tmp_path, "lockstep", "init")
    assert status == 0
    assert "+lockstep.run(target_metadata=target_metadata)" in output
    text = env.read_text()
    assert "engine_from_config" not in text
    assert "asyncio" not in text
    assert "fileConfig(config.config_file_name)" in text
    assert "target_metadata = None" in text
    ini = tmp_path / "alembic.ini"
    driver = "asyncpg" if "async" in name else "psycopg"
    ini.write_text(
        ini.read_text().replace("driver://user:pass@localhost/dbname", cluster18.url(database, driver))
    )
    assert typed(tmp_path, "alembic", "revision", "-m", "one")[0] == 0
    status, _, errors = typed(tmp_path, "alembic", "upgrade", "head")
    assert status == 0
    assert "Running upgrade  -> " in errors
    assert typed(tmp_path, "lockstep", "status")[0] == 0
    status, output, _ = typed(tmp_path, "lockstep", "init")
    assert (status, output) == (0, "migrations/env.py calls lockstep.run() already\n")


def test_the_template_for_several_databases_is_adopted_and_runs(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    env = template(tmp_path, "multidb")
    assert typed(tmp_path, "lockstep", "init")[0] == 0
    other = cluster18.create_database()
    ini = tmp_path / "alembic.ini"
    text = ini.read_text()
    for number, name in (("1", database), ("2", other)):
        before = "driver://user:pass@localhost/dbname" + ("2" if number == "2" else "")
        text = text.replace(f"url = {before}\n", f"url = {cluster18.url(name, 'psycopg')}\n")
    ini.write_text(text)
    assert typed(tmp_path, "alembic", "revision", "-m", "one")[0] == 0
    (path,) = (tmp_path / "migrations" / "versions").glob("*.py")
    text = path.read_text()
    for number in "12":
        text = text.replace(
            f"def upgrade_engine{number}() -> None:\n",
            f"def upgrade_engine{number}() -> None:\n"
            f"    op.create_table('only_in_{number}', sa.Column('id', sa.Integer()))\n",
        )
    path.write_text(text)
    status, _, errors = typed(tmp_path, "alembic", "upgrade", "head")
    assert status == 0, errors
    try:
        for number, name in (("1", database), ("2", other)):
            with cluster18.connect(name) as connection:
                found = connection.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
                ).fetchall()
            assert found == [("alembic_version",), (f"only_in_{number}",)]
        status, output, _ = typed(tmp_path, "lockstep", "status")
        assert status == 0
        assert f"of database {database}:" in output
        assert f"of database {other}:" in output
        assert typed(tmp_path, "alembic", "upgrade", "head", "--sql")[0] == 0
        assert "only_in_1" in (tmp_path / "engine1.sql").read_text()
        assert "only_in_2" in (tmp_path / "engine2.sql").read_text()
        assert typed(tmp_path, "alembic", "downgrade", "base")[0] == 0
    finally:
        cluster18.drop_database(other)
    assert "run_migrations_online" not in env.read_text()


def test_what_a_project_gives_to_configure_is_kept(tmp_path: Path) -> None:
    env = template(tmp_path, "generic")
    text = (
        env.read_text()
        .replace(
            "connection=connection, target_metadata=target_metadata\n",
            "connection=connection,\n            target_metadata=Base.metadata,\n"
            "            compare_type=True,\n"
            "            include_object=include_object,\n",
        )
        .replace("        target_metadata=target_metadata,\n", "        target_metadata=Base.metadata,\n")
        .replace("target_metadata = None", "from myapp import Base, include_object")
    )
    found = adopted(text)
    assert found is not None
    after, reason = found
    assert reason == ""
    assert after.endswith(
        "lockstep.run(\n    target_metadata=Base.metadata,\n    compare_type=True,\n"
        "    include_object=include_object,\n)\n"
    )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("    connectable = engine_from_config(", "    url = vault()\n    connectable = engine_from_config(",
         "run_migrations_online() in line 53 does something else"),
        ("connection=connection, target_metadata", "**options, connection=connection, target_metadata",
         "context.configure(**options) in line 68"),
        ("connection=connection, target", "include_object=connectable, connection=connection, target",
         "include_object=connectable in line 68 is made in its function"),
        ("if context.is_offline_mode():", "if True:", "does not end with `if context.is_offline_mode():`"),
    ],
)  # fmt: skip
def test_another_file_is_left_and_shown_the_difference(
    tmp_path: Path, before: str, after: str, reason: str
) -> None:
    env = template(tmp_path, "generic")
    text = env.read_text()
    assert before in text
    env.write_text(text.replace(before, after))
    status, output, errors = typed(tmp_path, "lockstep", "init")
    assert status == 1
    assert env.read_text() == text.replace(before, after)
    assert "+lockstep.run(target_metadata=target_metadata" in output
    assert reason in errors
    assert "lockstep.run(connection=engine)" in errors


def test_line_endings_stay(tmp_path: Path) -> None:
    env = template(tmp_path, "generic")
    env.write_bytes(env.read_bytes().replace(b"\n", b"\r\n"))
    assert typed(tmp_path, "lockstep", "init")[0] == 0
    assert env.read_bytes().count(b"\n") == env.read_bytes().count(b"\r\n") > 10
