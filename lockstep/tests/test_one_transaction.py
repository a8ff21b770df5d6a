"""A revision is one transaction, as plain Alembic's, for as long as nobody waits for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import BEFORE, FAILING, SCHEMA, Failing
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18(SCHEMA)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project that is at its first revision."""
    return at_first_revision(Project(tmp_path / "project", cluster18.url(database, "psycopg")))


def written(cluster: Cluster, database: str) -> int:
    """How many rows the ledger has."""
    with cluster.connect(database) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM lockstep.revision) + (SELECT count(*) FROM lockstep.operation)"
        ).fetchone()
    assert found is not None
    return int(found[0])


def correct(project: Project, name: str, wrong: str, right: str) -> None:
    """Edit a revision's file, as its author does."""
    path = project.folder / "versions" / f"{name}.py"
    before = path.read_text()
    indented = "\n".join(f"    {line}" for line in wrong.splitlines())
    assert indented in before
    path.write_text(before.replace(indented, "\n".join(f"    {line}" for line in right.splitlines())))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", FAILING, ids=lambda kind: kind.name)
def test_a_failing_revision_at_rest_leaves_nothing_and_the_corrected_file_runs(
    kind: Failing, project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    assert project.current() == "r1 (head)"
    project.revision(f"{BEFORE}\n{kind.wrong}")
    with pytest.raises((Exception, SystemExit)):
        project.upgrade()
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    assert project.current() == "r1"
    assert written(cluster18, database) == 0
    correct(project, "r2", kind.wrong, kind.right)
    project.upgrade()
    assert project.current() == "r2 (head)"


def test_a_failing_downgrade_at_rest_leaves_nothing(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "pass",
        "op.drop_column('books', 'isbn')\nop.drop_table('loans')\nop.drop_index('books_title')\n"
        "raise ValueError('no')",
    )
    project.upgrade()
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    with pytest.raises(ValueError, match="no"):
        project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    correct(project, "r2", "raise ValueError('no')", "pass")
    project.downgrade("r1")
    assert "isbn" not in str(rows_of(cluster18, database)["books"])


def test_a_first_revision_that_fails_leaves_an_empty_database(cluster18: Cluster, tmp_path: Path) -> None:
    database = cluster18.create_database()
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision("op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True))\nbroken()")
    with pytest.raises(NameError):
        project.upgrade()
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 2200").fetchall() == []
    correct(project, "r1", "broken()", "pass")
    project.upgrade()
    cluster18.drop_database(database)


def test_while_somebody_holds_a_lock_the_revision_runs_in_steps_and_nobody_queues(
    project: Project, cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    project.revision(
        "op.create_table('new', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.add_column('books', sa.Column('pages', sa.Integer()))\nbroken()",
    )
    with cluster18.connect(database) as reader:
        with reader.transaction():
            reader.execute("LOCK TABLE books IN ACCESS SHARE MODE")
            with pytest.raises(Exception, match="gave up"):
                project.upgrade(pace=_impatient())
        with pytest.raises(NameError):
            project.upgrade()
    assert re.search(r"a lock on books is taken \(pid \d+\): the revision is run in steps", caplog.text)
    correct(project, "r2", "broken()", "pass")
    project.upgrade()
    assert project.current() == "r2 (head)"


def _impatient() -> object:
    from lockstep.steps.pace import Pace  # noqa: PLC0415

    return Pace(give_up_after=0.2)


def test_somebody_who_waits_is_let_through(
    project: Project, cluster18: Cluster, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The revision's own statement provokes a waiter: it asks another session for the locked table."""
    caplog.set_level("INFO")
    url = cluster18.url(database)
    project.revision(
        "import psycopg, threading, time\n"
        "op.add_column('books', sa.Column('pages', sa.Integer()))\n"
        "def read():\n"
        f"    with psycopg.connect({url!r}) as other:\n"
        "        began = time.monotonic()\n"
        "        other.execute('SELECT count(*) FROM books')\n"
        f"        with open({str(tmp_path / 'waited')!r}, 'a') as file:\n"
        "            file.write(f'{time.monotonic() - began} ')\n"
        "thread = threading.Thread(target=read)\n"
        "thread.start()\n"
        "thread.join()\n"
        "op.create_table('new', sa.Column('id', sa.Integer(), primary_key=True))\n"
    )
    project.upgrade()
    assert "somebody waited for it: the revision is run in steps" in caplog.text
    first = float((tmp_path / "waited").read_text().split()[0])
    assert first < 1
    assert project.current() == "r2 (head)"
    assert re.search("pages", str(catalog_of(cluster18, database)))
