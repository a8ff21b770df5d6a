"""What a migration does can be followed: by a function, by JSON lines, by how long it will still take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from databases import database18
from lockstep import LockstepError
from lockstep.steps.progress import Meter, Reported
from project import Project

if TYPE_CHECKING:
    from testing.cluster import Cluster

ROWS = """
CREATE TABLE posts (id integer PRIMARY KEY, n integer);
INSERT INTO posts SELECT generate_series(1, 20000);
"""


database = database18(ROWS)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)


def test_a_function_is_told_of_each_step(project: Project) -> None:
    project.revision("op.backfill('posts', {'n': sa.text('id')})\nop.create_index('by_n', 'posts', ['n'])")
    told: list[dict[str, Any]] = []
    project.upgrade(on_event=told.append)
    steps = [(one["event"], one["step"]) for one in told if one["event"].startswith("step")]
    for step in ("posts: fill n", "posts: build index by_n concurrently"):
        started, finished = steps.index(("step_started", step)), steps.index(("step_finished", step))
        assert started < finished
    assert all(one["at"] and one["operation"] for one in told)


def test_a_step_that_fails_is_told_with_the_reason(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as service:
        service.execute("UPDATE posts SET n = 1")
    project.revision("op.create_unique_constraint('once', 'posts', ['n'])")
    told: list[dict[str, Any]] = []
    with pytest.raises(Exception, match="once"):
        project.upgrade(on_event=told.append)
    (failed,) = [one for one in told if one["event"] == "step_failed"]
    assert "could not create unique index" in failed["error"]


def test_the_alembic_command_writes_json_lines_where_it_is_asked_to(project: Project, tmp_path: Path) -> None:
    project.revision("op.backfill('posts', {'n': sa.text('id')})")
    (project.folder / "env.py").write_text("import lockstep\nlockstep.run()\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\nsqlalchemy.url = {project.url}\n")
    program = [str(Path(sys.executable).with_name("alembic")), "-c", str(ini)]
    file = tmp_path / "events.jsonl"
    subprocess.run([*program, "-x", f"lockstep_events={file}", "upgrade", "head"], check=True)
    told = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert told[0] == "step_started"
    assert told[-1] == "step_finished"

    (tmp_path / "closed").mkdir()
    done = subprocess.run(
        [*program, "-x", f"lockstep_events={tmp_path / 'closed'}", "upgrade", "head"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "events: cannot write" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_receiver_that_raises_does_not_stop_the_migration(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_event: object) -> None:
        raise ValueError("no such channel")

    project.revision("op.backfill('posts', {'n': sa.text('id')})")
    project.upgrade(on_event=broken)
    assert "the receiver of events failed at step_started: no such channel" in caplog.text
    assert "r1" in project.current()


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_done(project: Project) -> None:
    project.revision("op.backfill('posts', {'n': sa.text('id')})")
    with pytest.raises(LockstepError, match="events: cannot write"):
        project.upgrade(on_event=project.folder)
    assert project.current() == ""


def test_the_time_left_follows_from_how_fast_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("lockstep.steps.progress.time.monotonic", lambda: clock[0])
    meter = Meter("posts: fill n", "pages", 100)
    assert meter.seconds_left() is None
    clock[0] += 10
    meter.advance(25)
    assert meter.seconds_left() == 30


def test_an_index_build_is_followed_while_it_waits_for_others(
    project: Project, cluster18: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build holds at a transaction that has written to the table; its progress names the phase."""
    seen: list[str] = []
    phases = Reported.ask

    def ask(self: Reported, connection: Any) -> None:
        phases(self, connection)
        if self._phase:
            seen.append(self._phase)
            other.rollback()

    monkeypatch.setattr(Reported, "ask", ask)
    project.revision("op.create_index('by_n', 'posts', ['n'])")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("UPDATE posts SET n = 1 WHERE id = 1")
        project.upgrade()
    assert seen[0].startswith("index: waiting for writers before build")
