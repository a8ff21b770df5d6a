"""A plan that was kept is demanded: `lockstep plan --keep FILE`, then `alembic -x plan=FILE upgrade head`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import revision, typed
from databases import database18
from snapshot_project import alembic, lockstep, three_revisions

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    """At revision ``a``, with a kept plan up to ``c``."""
    folder = three_revisions(tmp_path, cluster18.url(database, "psycopg"))
    alembic(folder, "upgrade", "a")
    assert lockstep(folder, "plan", "--keep", "plan.json")[0] == 0
    return folder


def refused(project: Path, *arguments: str) -> str:
    """What is said of it."""
    status, _, errors = typed(project, "alembic", "-x", "plan=plan.json", *arguments)
    assert status != 0
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


def test_what_was_planned_is_carried_out(project: Path) -> None:
    alembic(project, "-x", "plan=plan.json", "upgrade", "head")
    assert lockstep(project, "status")[1][0] == "at c"


def test_whatever_else_would_run_is_refused_before_the_first_statement(project: Path) -> None:
    assert "and this one of b. Nothing was done" in refused(project, "upgrade", "b")
    assert "and this one of a. Nothing was done" in refused(project, "downgrade", "base")
    revision(project, "d", "pass", "c")
    assert "it is the upgrade of b, c, and this one of b, c, d" in refused(project, "upgrade", "head")
    revision(project, "b", "op.add_column('posts', sa.Column('title', sa.String()))", "a")
    assert "the file of revision b was changed" in refused(project, "upgrade", "c")
    alembic(project, "upgrade", "b")
    assert "it starts at a, and the database is at b" in refused(project, "upgrade", "c")
    assert lockstep(project, "status")[1][0] == "at b"


def test_a_file_that_is_no_plan_is_refused(project: Path) -> None:
    (project / "plan.json").write_text("[]")
    assert "plan.json is no plan that `lockstep plan --keep` wrote" in refused(project, "upgrade", "head")
    (project / "plan.json").unlink()
    assert "the plan plan.json cannot be read: No such file" in refused(project, "upgrade", "head")
    status, _, errors = lockstep(project, "plan", "--keep", "missing/plan.json")
    assert (status, errors) == (
        2,
        "lockstep: --keep: cannot write missing/plan.json: No such file or directory",
    )
