"""``lockstep watch``: what another process migrates, seen from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from databases import database18
from lockstep.commands import watch
from lockstep.commands.main import main
from lockstep.commands.under_way import UnderWay, Waiting
from project import Project, stops
from test_locks import Told, told, under_way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

__all__ = ["told"]  # a fixture

ROWS = """
CREATE TABLE posts (id integer PRIMARY KEY, n integer);
INSERT INTO posts SELECT n, CASE WHEN n <= 1000 THEN n END FROM generate_series(1, 4000) n;
"""
database = database18(ROWS)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project whose revisions run in steps, and an alembic.ini for the command beside it."""
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "env.py").write_text("import lockstep\nlockstep.run()\n")
    (tmp_path / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {tmp_path / 'other'}\nsqlalchemy.url = {project.url}\n"
    )
    return project


def typed(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Another process: Alembic's commands share what they run with."""
    program = str(Path(sys.executable).with_name("lockstep"))
    return subprocess.Popen(
        [program, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def once(folder: Path, *arguments: str) -> tuple[int, str]:
    done = typed(folder, "watch", "--once", *arguments)
    output, errors = done.communicate(timeout=60)
    assert errors == ""
    return done.returncode, output


def test_nothing_is_under_way(project: Project, tmp_path: Path) -> None:
    project.revision("pass")
    assert once(tmp_path) == (0, "nothing is under way\n")


@pytest.fixture
def paused(project: Project, tmp_path: Path, cluster18: Cluster, database: str, told: Told) -> Iterator[None]:
    """A fill that is under way, a quarter of whose rows need none, and that is held."""
    project.revision("op.backfill('posts', {'n': sa.text('id')})")
    CliRunner().invoke(main, ["pause", "--config", str(tmp_path / "alembic.ini")])
    with under_way(project.upgrade):
        told.wait_for("paused by `lockstep pause`")
        yield
        with cluster18.connect(database) as connection:  # what `lockstep resume` does
            connection.execute("UPDATE lockstep.control SET paused = false")


@pytest.mark.usefixtures("paused")
def test_a_fill_is_seen_with_how_much_of_it_is_done(tmp_path: Path) -> None:
    status, output = once(tmp_path)
    assert status == 3
    first, second, bar, held = output.splitlines()
    assert first.startswith("the upgrade of revision r1 is under way: pid ")
    assert second.strip().startswith("posts: backfill n: step 1 of ")
    assert bar.strip() == "[########......................] 25%"
    assert held.strip() == "paused by postgres: `lockstep resume` lets it go on"


@pytest.mark.prove
@pytest.mark.usefixtures("paused")
def test_it_goes_on_looking_until_it_is_interrupted(tmp_path: Path) -> None:
    live = typed(tmp_path, "watch", "--json", "--interval", "0.05")
    assert live.stdout is not None
    looks: list[dict[str, Any]] = [json.loads(live.stdout.readline()) for _ in range(3)]
    live.send_signal(signal.SIGINT)
    assert "Traceback" not in live.communicate(timeout=60)[1]
    seen = [(one["revision"], one["share"], one["paused_by"]) for one in looks]
    assert seen == [("r1", 0.25, "postgres")] * 3


@pytest.mark.usefixtures("paused")
def test_who_waits_for_whom_is_told(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    with (
        cluster18.connect(database, autocommit=False) as holder,
        cluster18.connect(database) as waiter,
        cluster18.connect(database) as service,
    ):
        holder.execute("LOCK TABLE posts")
        waiter.pgconn.send_query(b"SELECT FROM posts")
        while not service.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
            pass
        seen = json.loads(once(tmp_path, "--json")[1])
        pids = holder.info.backend_pid, waiter.info.backend_pid
        holder.rollback()
        while waiter.pgconn.get_result():
            pass
    (waiting,) = seen["waiting"]
    assert (waiting["holder"], waiting["pid"], waiting["relation"]) == (*pids, "posts")
    assert seen["share"] is None, "the table is locked, and nobody waits to read it"


def test_a_half_done_revision_without_a_process_says_so(project: Project, tmp_path: Path) -> None:
    stops(project, "op.add_column('posts', sa.Column('x', sa.Integer()))")
    status, output = once(tmp_path)
    assert status == 3
    assert output == "the upgrade of revision r1 is half done, and no process is at work\n"


def test_the_time_left_is_told_from_the_second_look_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 120.0, 130.0])
    monkeypatch.setattr(watch, "monotonic", lambda: next(clock))
    pace = watch.Pace()
    looks = [UnderWay("r1", operation="o", step="fill", share=share) for share in (0.2, 0.4, 0.4)]
    assert [pace.seconds_left(one) for one in looks] == [None, 30.0, 60.0]
    assert pace.seconds_left(UnderWay("r1", operation="o", step="index", share=0.5)) is None
    assert pace.seconds_left(None) is None


def test_a_look_in_words() -> None:
    found = UnderWay(
        "r1", "upgrade", "posts: create index by_n", "posts: build by_n", 1, 3, "index: building", 0.5,
        7, "shop", 2.0,
        waiting=[Waiting(9, 7, 1.5, "posts")],
    )  # fmt: skip
    assert list(watch.lines(found, 12.0)) == [
        "the upgrade of revision r1 is under way: pid 7 of shop, in a transaction for 2.0 s",
        "  posts: create index by_n: step 2 of 3: posts: build by_n",
        "  [###############...............] 50% index: building, about 12 s left",
        "  pid 9 waits for pid 7 on posts, 1.5 s",
    ]
