"""A plan that was kept is demanded: `lockstep plan --keep FILE`, then `alembic -x plan=FILE upgrade head`."""

from __future__ import annotations

import json
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


def test_what_a_revision_imports_and_reads_is_part_of_the_plan(project: Path) -> None:
    (project / "helpers").mkdir()
    (project / "helpers" / "__init__.py").write_text("from . import names\n")
    (project / "helpers" / "names.py").write_text("COLUMN = 'more'\n")
    (project / "more.sql").write_text("SELECT 1")
    revision(
        project, "b",
        "import helpers\n    from typing import Any\n    op.execute(open('more.sql').read())\n"
        "    op.add_column('posts', sa.Column(helpers.names.COLUMN, sa.Text()))", "a",
    )  # fmt: skip
    revision(project, "c", "pass", "b")
    ini = project / "alembic.ini"
    ini.write_text(ini.read_text() + "prepend_sys_path = %(here)s\n")
    assert lockstep(project, "plan", "--keep", "plan.json")[0] == 0
    kept = json.loads((project / "plan.json").read_text())
    assert {*kept["files"]} == {"env.py", "../helpers/__init__.py", "../helpers/names.py", "../more.sql"}
    (project / "helpers" / "names.py").write_text("COLUMN = 'other'\n")
    assert "../helpers/names.py, which is part of what runs, was changed" in refused(
        project, "upgrade", "head"
    )
    (project / "helpers" / "names.py").write_text("COLUMN = 'more'\n")
    (project / "more.sql").unlink()
    assert "../more.sql, which is part of what runs, is not here" in refused(project, "upgrade", "head")
    (project / "more.sql").write_text("SELECT 1")
    alembic(project, "-x", "plan=plan.json", "upgrade", "head")


def test_a_table_that_was_changed_or_has_grown_since_is_refused(
    project: Path, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE TABLE unrelated (id integer)")
        connection.execute("ALTER TABLE posts ADD COLUMN by_hand text")
        assert "posts was changed in the database since" in refused(project, "upgrade", "head")
        connection.execute("ALTER TABLE posts DROP COLUMN by_hand")
        connection.execute("INSERT INTO posts SELECT generate_series(1, 20)")
        assert "posts was empty, and is small now" in refused(project, "upgrade", "head")
        connection.execute("INSERT INTO posts SELECT generate_series(21, 20000)")
        assert "posts was empty, and is large now" in refused(project, "upgrade", "head")
        connection.execute("TRUNCATE posts")
    alembic(project, "-x", "plan=plan.json", "upgrade", "head")


def test_another_version_of_what_runs_it_is_refused(project: Path) -> None:
    file = project / "plan.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "packages": {**kept["packages"], "alembic": "1.0"}}))
    assert "it was made with alembic 1.0, and this is 1." in refused(project, "upgrade", "head")


def test_a_file_that_is_no_plan_is_refused(project: Path) -> None:
    (project / "plan.json").write_text("[]")
    assert "plan.json is no plan that `lockstep plan --keep` of this version wrote" in refused(
        project, "upgrade", "head"
    )
    (project / "plan.json").unlink()
    assert "the plan plan.json cannot be read: No such file" in refused(project, "upgrade", "head")
    status, _, errors = lockstep(project, "plan", "--keep", "missing/plan.json")
    assert (status, errors) == (
        2,
        "lockstep: --keep: cannot write missing/plan.json: No such file or directory",
    )
