"""``lockstep abandon``: a half-done revision is forgotten, and nothing of Lockstep's own is left at work."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from databases import at_first_revision, database18
from failing import SCHEMA
from killing import in_child
from lockstep.commands.abandon import what_stays, what_takes_it_away
from lockstep.commands.main import main
from lockstep.operations.validation import added_and_validated
from lockstep.revision.ledger import Entry, Underway
from project import ADDS, Project, stops

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18(SCHEMA)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project at its first revision, each of whose operations is committed."""
    return at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )


def kill(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _abandon(project: Project, folder: Path) -> str:
    """What `lockstep abandon --yes` prints."""
    env = (project.folder / "env.py").read_text()
    (project.folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = folder / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    try:
        return CliRunner().invoke(main, ["abandon", "-c", str(ini), "--yes"]).output
    finally:
        (project.folder / "env.py").write_text(env)


def test_abandon_says_what_stays_asks_and_forgets(
    project: Project, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    stops(project, f"{ADDS}\nop.execute('DROP TABLE loans')")
    (project.folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    refused = CliRunner().invoke(main, ["abandon", "-c", str(ini)], input="n\n")
    assert (refused.exit_code, refused.stderr) == (1, "Aborted.\n")
    assert "books: add column pages: done" in refused.stdout
    assert 'DROP COLUMN IF EXISTS "pages";' in refused.stdout
    assert "cannot be taken back" in refused.stdout
    assert "The database stays at r1" in refused.stdout
    done = CliRunner().invoke(main, ["abandon", "-c", str(ini), "--yes"])
    assert done.exit_code == 0, done.output
    with cluster18.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM lockstep.operation").fetchone()
        assert found == (0,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("r1",)]
    nothing = CliRunner().invoke(main, ["abandon", "-c", str(ini), "--yes"])
    assert "nothing is half done" in nothing.stdout


def test_abandon_says_of_an_operation_of_one_step_that_it_may_have_been_begun() -> None:
    step = added_and_validated(
        "t", "t: add check c", "c", "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID"
    )
    begun = Underway("r2", "upgrade", "", "", None, [Entry("k", 1, "t: create check c", (step,), 0)])
    assert list(what_stays(begun))[1:] == ["    may have been begun: t: add check c"]
    assert "DROP CONSTRAINT IF EXISTS" in "".join(what_takes_it_away(begun))


@pytest.mark.parametrize(
    ("downgrade", "at"),
    [
        ("op.drop_column('books', 'pages')", "set_config('lockstep.first'"),
        ("op.drop_column('books', 'pages')", "DROP FUNCTION IF EXISTS lockstep"),
        ("op.drop_table('notes')\nop.drop_column('books', 'pages')", "set_config('lockstep.first'"),
    ],
)
def test_a_downgrade_that_is_abandoned_leaves_no_trigger_and_a_dropped_table_comes_back(
    downgrade: str, at: str, project: Project, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project.revision(f"{ADDS}\nop.create_table('notes', sa.Column('id', sa.Integer()))", downgrade)
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO notes VALUES (7)")

    in_child(lambda: project.downgrade("r1"), kill, at)
    assert "forgotten" in _abandon(project, tmp_path)
    with cluster18.connect(database) as connection:
        triggers = connection.execute("SELECT tgname FROM pg_trigger WHERE tgname ~ 'lockstep'").fetchall()
        kept = connection.execute("SELECT table_name, state FROM lockstep.archive").fetchall()
    assert triggers == []
    assert kept == ([("notes", "kept")] if "notes" in downgrade else [])


TYPE = """
op.add_column('books', sa.Column('x', sa.Integer()))
op.alter_column('books', 'id', type_=sa.BigInteger())
"""


@pytest.mark.parametrize(
    "at", ['SET "lockstep_1_id" =', "CREATE UNIQUE INDEX CONCURRENTLY", "VALIDATE", "DROP TRIGGER"]
)
def test_a_type_change_that_is_abandoned_leaves_nothing_of_lockstep_and_can_be_run_again(
    at: str, project: Project, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    before = cluster18.dump_schema(database)
    project.revision(TYPE)
    in_child(project.upgrade, kill, at)
    printed = _abandon(project, tmp_path)
    assert "books: add column x: done" in printed
    assert "books: alter column id: what Lockstep has built for it so far" in printed
    assert "sync_" not in printed
    with cluster18.connect(database) as connection:
        connection.execute("ALTER TABLE books DROP COLUMN x")
    assert cluster18.dump_schema(database) == before
    project.upgrade()
    assert project.current() == "r2 (head)"


def test_the_check_that_a_not_null_is_made_of_goes_with_it_before_18(
    cluster15: Cluster, tmp_path: Path
) -> None:
    database = cluster15.create_database()
    with cluster15.connect(database) as connection:
        connection.execute(SCHEMA)
    project = at_first_revision(
        Project(tmp_path / "project", cluster15.url(database, "psycopg"), short_way=False)
    )
    before = cluster15.dump_schema(database)
    project.revision("op.alter_column('books', 'author_id', nullable=False)")
    in_child(project.upgrade, kill, "SET NOT NULL")
    assert "forgotten" in _abandon(project, tmp_path)
    assert cluster15.dump_schema(database) == before


def test_abandon_gives_no_sql_for_what_a_later_step_has_replaced(project: Project, tmp_path: Path) -> None:
    stops(project, TYPE)
    printed = _abandon(project, tmp_path)
    assert "takes the old one's place (last in the row): cannot be taken back" in printed
    assert "DROP COLUMN" in printed  # of x
    assert "lockstep_1_id" not in printed
