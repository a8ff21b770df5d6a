"""`lockstep -x …` for an env.py that migrates several tenants, and says by it which one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_line import made, revision
from databases import database18
from snapshot_project import alembic, lockstep

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TENANTS = """
import sqlalchemy as sa
import lockstep
from alembic import context

engine = sa.create_engine({url!r}, poolclass=sa.pool.NullPool)
asked = context.get_x_argument(as_dictionary=True).get("tenant")
for tenant in [asked] if asked else ["one", "two"]:
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {{tenant}}"))
        connection.execute(sa.text(f"SET search_path TO {{tenant}}"))
        connection.commit()
        lockstep.run(connection=connection, version_table_schema=tenant)
"""

database = database18("CREATE SCHEMA one; CREATE SCHEMA two")


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    """Two tenants; ``one`` is a revision ahead of ``two``."""
    url = cluster18.url(database, "psycopg")
    made(tmp_path, url)
    (tmp_path / "migrations" / "env.py").write_text(TENANTS.format(url=url))
    revision(tmp_path, "a", "op.create_table('posts', sa.Column('id', sa.Integer(), primary_key=True))",
             None, "op.drop_table('posts')")  # fmt: skip
    alembic(tmp_path, "upgrade", "head")
    revision(tmp_path, "b", "op.add_column('posts', sa.Column('title', sa.Text()))", "a",
             "op.drop_column('posts', 'title')")  # fmt: skip
    alembic(tmp_path, "-x", "tenant=one", "upgrade", "head")
    return tmp_path


@pytest.mark.one_in(3)
@pytest.mark.parametrize("command", ["plan", "verify", "snapshot", "check", "show"])
def test_without_it_the_several_are_refused_in_a_line(command: str, project: Path) -> None:
    status, lines, errors = lockstep(project, command)
    assert (status, lines) == (2, [])
    assert "several databases or schemas" in errors or "migrates 2 databases or schemas" in errors
    assert errors.endswith("let it migrate one of them where `lockstep -x …` says so")


@pytest.mark.one_in(3)
def test_each_has_its_own_plan_and_its_own_snapshot(project: Path) -> None:
    assert "two: at a" not in lockstep(project, "status")[1]
    for tenant, planned in (("one", []), ("two", ["b"])):
        status, lines, errors = lockstep(project, "-x", f"tenant={tenant}", "plan", "--json")
        assert status == 0, errors
        assert [one["revision"] for one in json.loads("\n".join(lines))["revisions"]] == planned
    assert lockstep(project, "-x", "tenant=one", "snapshot")[0] == 0
    other = ("--ignore", "* two.*", "--ignore", "schema two")
    said = lockstep(project, "-x", "tenant=one", "verify", *other)
    assert said[:2] == (0, ["the database is what revision b says"])
    assert lockstep(project, "-x", "tenant=one", "check", *other)[0] == 0
