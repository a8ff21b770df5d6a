"""A fill waits for those who need it to, and a migration for whoever holds it from another terminal."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from databases import database18
from lockstep import LockstepError, Pace
from lockstep.commands.main import main
from lockstep.revision.ledger import Ledger
from lockstep.steps import control, health
from lockstep.steps.health import Health
from project import Project
from test_locks import Told, told, under_way
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["told"]  # a fixture

ROWS = """
CREATE TABLE posts (id integer PRIMARY KEY, n integer);
INSERT INTO posts SELECT generate_series(1, 2000);
"""


@pytest.fixture(autouse=True)
def asked_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_EVERY", 0.0)


database = database18(ROWS)


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


def _ini(project: Project, folder: Path) -> str:
    (project.folder / "env.py").write_text("import lockstep\nlockstep.run()\n")
    ini = folder / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\nsqlalchemy.url = {project.url}\n")
    return str(ini)


def _lockstep(ini: str, *arguments: str) -> str:
    """From another process: Alembic's commands share what they run with."""
    program = str(Path(sys.executable).with_name("lockstep"))
    done = subprocess.run(
        [program, *arguments, "--config", ini], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_migration_is_paused_and_resumed_from_another_terminal(
    cluster18: Cluster, database: str, tmp_path: Path, told: Told
) -> None:
    # In steps: what is done in one transaction takes a moment, and is not held half way.
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    other = Project(tmp_path / "other", cluster18.url(database, "psycopg"))
    project.revision("op.backfill('posts', {'n': sa.text('id')})")
    ini = _ini(other, tmp_path)
    _lockstep(ini, "pause")
    with under_way(project.upgrade), cluster18.connect(database) as service:
        told.wait_for("paused by `lockstep pause`")
        # It holds nothing while it waits.
        service.execute("SET lock_timeout = '100ms'")
        service.execute("ALTER TABLE posts ADD COLUMN other integer")
        _lockstep(ini, "resume")
    told.wait_for("going on")
    with cluster18.connect(database) as service:
        assert service.execute("SELECT count(*) FROM posts WHERE n IS NULL").fetchone() == (0,)


@pytest.mark.one_in(3)
def test_the_pace_is_changed_from_another_terminal_and_goes_back(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    ini = _ini(project, tmp_path)
    assert "batch_time = 0.005" in _lockstep(ini, "pace", "batch_time=0.005")
    with _engine(project.url).connect() as connection:
        (name,) = connection.scalars(sa.text("SELECT version_table FROM lockstep.control"))
        pace = Pace(version_table=name)
        watched = Health(connection, pace, "posts")
        watched.breathe()
        assert watched.pace.batch_time == 0.005
        assert health.wait_while_paused(connection, pace).batch_time == 0.005
        assert "as the program says" in _lockstep(ini, "pace", "batch_time=")
        watched.breathe()
        assert watched.pace == pace


@pytest.mark.parametrize("wrong", ["batch_time=-1", "batch_time=soon", "colour=1", "batch_time"])
def test_a_pace_that_cannot_be_is_refused_in_a_line(
    wrong: str, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    ini = _ini(Project(tmp_path / "project", cluster18.url(database, "psycopg")), tmp_path)
    done = CliRunner().invoke(main, ["pace", "--config", ini, "--", wrong])
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    assert wrong.partition("=")[0] in done.output


@pytest.fixture
def watched(cluster18: Cluster, database: str) -> Iterator[sa.Connection]:
    with _engine(cluster18.url(database, "psycopg")).connect() as connection:
        yield connection


def _paused_by(connection: sa.Connection, told: Told, then: Any, **pace: Any) -> str:
    """What a fill says it waits for; ``then`` takes the reason away."""
    with under_way(Health(connection, Pace(**pace), "posts").breathe):
        line = told.wait_for("paused: ")
        then()
    told.wait_for("going on")
    return line


def test_a_fill_waits_while_a_query_a_file_or_a_function_says_so(
    watched: sa.Connection, cluster18: Cluster, database: str, tmp_path: Path, told: Told
) -> None:
    with cluster18.connect(database) as service:
        service.execute("CREATE TABLE busy (yes boolean); INSERT INTO busy VALUES (true)")
        line = _paused_by(
            watched, told, lambda: service.execute("DELETE FROM busy"),
            pause_while="SELECT 'a busy hour: 100%' FROM busy",
        )  # fmt: skip
        assert line.endswith("a busy hour: 100%")
    told.lines.clear()
    flag = tmp_path / "hold"
    flag.touch()
    assert str(flag) in _paused_by(watched, told, flag.unlink, pause_while=flag)
    told.lines.clear()
    answers: list[str | None] = ["the on-call engineer", "the on-call engineer"]
    line = _paused_by(watched, told, lambda: answers.append(None), pause_while=lambda: answers[-1])
    assert "the on-call engineer" in line


def test_a_fill_waits_for_a_replication_slot_that_keeps_too_much(
    watched: sa.Connection, cluster18: Cluster, database: str, told: Told
) -> None:
    with cluster18.connect(database) as service:
        service.execute("SELECT pg_create_physical_replication_slot('behind', true)")
        service.execute("UPDATE posts SET n = 1")
        line = _paused_by(
            watched, told, lambda: service.execute("SELECT pg_drop_replication_slot('behind')"),
            max_slot_retention=1,
        )  # fmt: skip
    assert "the replication slot behind" in line


def test_a_fill_waits_while_more_sessions_are_active_than_allowed(
    watched: sa.Connection, cluster18: Cluster, database: str, told: Told
) -> None:
    with (
        cluster18.connect(database) as busy, cluster18.connect(database) as admin,
        under_way(lambda: _cancelled(busy)),
    ):  # fmt: skip
        line = _paused_by(
                watched, told, lambda: admin.execute("SELECT pg_cancel_backend(%s)", [busy.info.backend_pid]),
                max_active_sessions=0,
            )  # fmt: skip
    assert "active sessions: there are" in line


def _cancelled(connection: Any) -> None:
    with pytest.raises(Exception, match="canceling"):
        connection.execute("SELECT pg_sleep(60)")


def test_a_fill_waits_for_a_vacuum_of_its_table_where_it_is_told_to(
    watched: sa.Connection, cluster18: Cluster, database: str, told: Told
) -> None:
    with cluster18.connect(database) as busy, cluster18.connect(database) as admin:
        busy.execute("DELETE FROM posts WHERE id % 2 = 0")
        busy.execute("SET vacuum_cost_delay = 100")
        busy.execute("SET vacuum_cost_limit = 1")
        with under_way(lambda: _vacuum(busy)):
            while not admin.execute("SELECT FROM pg_stat_progress_vacuum").rowcount:
                pass
            Health(watched, Pace(), "posts").breathe()  # it is not asked for
            assert told.lines == []
            line = _paused_by(
                watched, told, lambda: admin.execute("SELECT pg_cancel_backend(%s)", [busy.info.backend_pid]),
                pause_for_autovacuum=True,
            )  # fmt: skip
    assert "autovacuum: it is at work on posts" in line


def _vacuum(connection: Any) -> None:
    with pytest.raises(Exception, match="canceling"):
        connection.execute("VACUUM posts")


def test_the_sql_of_who_is_in_the_way_is_shown_where_it_is_asked_for(
    cluster18: Cluster, database: str, told: Told, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision("op.add_column('posts', sa.Column('x', sa.Integer()))")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("SELECT 'of mine' FROM posts")
        with under_way(lambda: project.upgrade(pace=Pace(show_statements=True))):
            assert "SELECT 'of mine' FROM posts" in told.wait_for("waiting for pid")
            other.rollback()


def test_a_fill_waits_for_an_archive_that_fails(told: Told) -> None:
    cluster = Cluster(18, settings=["fsync=off", "archive_mode=on", "archive_command=false"])
    try:
        name = cluster.create_database()
        with cluster.connect(name) as service:
            service.execute(ROWS)
            for _ in range(4):
                service.execute("UPDATE posts SET n = 1")
                service.execute("SELECT pg_switch_wal()")
            while not service.execute("SELECT FROM pg_stat_archiver WHERE failed_count > 0").rowcount:
                service.execute("SELECT pg_sleep(0.05)")
            with _engine(cluster.url(name, "psycopg")).connect() as connection:
                Ledger("t").create(connection)
                line = _paused_by(
                    connection, told, lambda: _patient(service), max_archive_queue=2, version_table="t"
                )
        assert "archiving fails" in line
    finally:
        cluster.remove()


def _patient(service: Any) -> None:
    service.execute("INSERT INTO lockstep.control VALUES ('t', false, '{\"max_archive_queue\": 1000}')")


def test_a_role_that_cannot_see_says_so_once_and_goes_on(
    cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with cluster18.connect(database) as admin:
        admin.execute("DROP ROLE IF EXISTS blind")
        admin.execute("CREATE ROLE blind LOGIN")
        url = cluster18.url(database, "psycopg").replace("postgres@", "blind@")
        with _engine(url).connect() as connection:
            blind = Health(connection, Pace(max_active_sessions=50), "posts")
            with caplog.at_level(logging.WARNING, "alembic.lockstep"):
                blind.breathe()
                blind.breathe()
    said = [line for line in caplog.messages if "cannot see how many sessions are active" in line]
    assert said == [
        "this role cannot see how many sessions are active, so no fill waits for it: "
        "GRANT pg_read_all_stats TO blind"
    ]


def test_what_cannot_be_changed_meanwhile_is_refused(watched: sa.Connection) -> None:
    with pytest.raises(LockstepError, match="connections cannot be changed while a migration runs"):
        control.write(watched, "x", settings={"connections": 3})
