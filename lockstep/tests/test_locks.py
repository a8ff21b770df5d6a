"""Whoever is in the way of a step: it waits without making others wait, says for whom, and gets through."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from databases import database18
from lockstep import LockstepError, Pace
from project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE posts (id integer PRIMARY KEY, title text);
CREATE TABLE votes (post_id integer, n integer);
INSERT INTO posts SELECT n, 't' || n FROM generate_series(1, 500) n;
INSERT INTO votes SELECT n, n FROM generate_series(1, 500) n;
"""

#: Far longer than a lock_timeout, far shorter than what somebody holds: a busy machine may add to the first.
AT_ONCE = 0.5


database = database18(TABLES)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", cluster18.url(database, "psycopg"))


class Told(logging.Handler):
    """What Lockstep logs, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            self.lines.append(record.getMessage())
            self._more.notify_all()

    def wait_for(self, text: str) -> str:
        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._more:
            assert self._more.wait_for(found, timeout=15), f"nobody said {text!r}: {self.lines}"
        line = found()
        assert line
        return line


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("alembic.lockstep")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@contextmanager
def under_way(migrate: Callable[[], None]) -> Iterator[None]:
    """The migration in a thread, waited for at the end of the block."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            migrate()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def longest(connection: psycopg.Connection[Any], *statements: str, times: int = 40) -> float:
    """The longest that one of the statements took."""
    worst = 0.0
    for _ in range(times):
        for statement in statements:
            started = time.monotonic()
            connection.execute(statement)
            worst = max(worst, time.monotonic() - started)
    return worst


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ("op.add_column('posts', sa.Column('x', sa.Integer(), server_default='1'))", "SELECT FROM posts"),
        ("op.alter_column('posts', 'title', nullable=False)", "UPDATE posts SET title = title WHERE id = 1"),
        (
            "op.create_foreign_key('votes_fk', 'votes', 'posts', ['post_id'], ['id'])",
            "UPDATE posts SET title = title WHERE id = 1",
        ),
        ("op.execute('ALTER TABLE posts ADD COLUMN x integer')", "SELECT FROM posts"),
        ("op.alter_column('posts', 'id', type_=sa.BigInteger())", "SELECT FROM posts"),
        ("op.drop_table('posts')", "SELECT FROM posts"),
    ],
    ids=["add_column", "set_not_null", "foreign_key", "execute", "retype", "drop_table"],
)
def test_a_step_that_waits_makes_nobody_else_wait(
    change: str, held: str, project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    project.revision(change)
    with cluster18.connect(database, autocommit=False) as other, cluster18.connect(database) as service:
        other.execute(held)
        with under_way(project.upgrade):
            line = told.wait_for("waiting for pid")
            assert f"waiting for pid {other.info.backend_pid} (postgres, idle in transaction for" in line
            assert held not in line  # other people's SQL is shown where it is asked for
            worst = longest(
                service, "SELECT count(*) FROM posts", "UPDATE posts SET title = 'u' WHERE id = 2",
                "INSERT INTO votes VALUES (1, 1)", "SELECT count(*) FROM votes",
            )  # fmt: skip
            other.rollback()
        assert worst < AT_ONCE
        versions = service.execute("SELECT version_num FROM alembic_version").fetchall()
        assert versions == [("r1",)]


def test_a_retry_holds_no_lock_of_an_earlier_statement(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    """The second statement waits for a table; what the first one locked is free meanwhile."""
    project.revision(
        "op.execute('ALTER TABLE votes ADD COLUMN x integer; ALTER TABLE posts ADD COLUMN x integer')"
    )
    with cluster18.connect(database, autocommit=False) as other, cluster18.connect(database) as service:
        other.execute("SELECT FROM posts")
        with under_way(project.upgrade):
            told.wait_for("waiting for pid")
            assert longest(service, "UPDATE votes SET n = n WHERE post_id = 7") < AT_ONCE
            other.rollback()
        service.execute("SELECT posts.x, votes.x FROM posts, votes LIMIT 0")


def test_a_concurrent_build_says_which_transaction_it_waits_for(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    project.revision("op.create_index('votes_post', 'votes', ['post_id'])")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("INSERT INTO votes VALUES (9, 9)")
        with under_way(project.upgrade):
            line = told.wait_for("waiting for pid")
            assert f"waiting for pid {other.info.backend_pid} (postgres, idle in transaction" in line
            other.rollback()


def test_it_gives_up_when_it_was_told_to_and_can_go_on_later(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    project.revision(
        "op.create_index('votes_n', 'votes', ['n'])\nop.add_column('posts', sa.Column('x', sa.Text()))"
    )
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("SELECT FROM posts")
        with pytest.raises(LockstepError, match=r"gave up after .* s: its locks are taken"):
            project.upgrade(pace=Pace(give_up_after=0.1))
        other.rollback()
    told.wait_for("stopped half way")
    project.upgrade()
    told.wait_for("continuing revision r1")


def test_an_autovacuum_worker_in_the_way_lets_go(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    project.revision("op.add_column('posts', sa.Column('x', sa.Text()))")
    with cluster18.connect(database) as service:
        service.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        service.execute("SELECT pg_reload_conf()")
        # So slow that it would take minutes.
        service.execute(
            "ALTER TABLE posts SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, "
            "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)"
        )
        service.execute("UPDATE posts SET title = title || title")
        try:
            deadline = time.monotonic() + 20
            while not service.execute(
                "SELECT FROM pg_stat_progress_vacuum WHERE relid = 'posts'::regclass"
            ).rowcount:
                assert time.monotonic() < deadline, "no autovacuum worker came"
                time.sleep(0.02)
            with under_way(project.upgrade):
                assert "autovacuum" in told.wait_for("waiting for pid")
                worst = longest(service, "UPDATE posts SET title = 'u' WHERE id = 2")
            assert worst < AT_ONCE
        finally:
            service.execute("ALTER SYSTEM RESET autovacuum_naptime")
            service.execute("SELECT pg_reload_conf()")


# -- looking before locking -----------------------------------------------------------------------------


def test_nobody_queues_behind_a_transaction_that_stays_open(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    """A try would show in the server's log: its lock_timeout would have run out."""
    project.revision("op.add_column('posts', sa.Column('x', sa.Text()))")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("SELECT FROM posts")
        other.execute("SELECT pg_sleep(0.3)")  # older than any budget
        before = cluster18.log().count("lock timeout")
        with under_way(project.upgrade):
            told.wait_for("waiting for pid")
            other.execute("SELECT pg_sleep(1)")
            other.rollback()
    assert cluster18.log().count("lock timeout") == before


@pytest.mark.one_in(2)
def test_waits_grow_to_the_greatest_stall_where_transactions_overlap(
    project: Project, cluster18: Cluster, database: str, told: Told
) -> None:
    project.revision("op.add_column('posts', sa.Column('x', sa.Text()))")
    done = threading.Event()

    def overlapping(offset: float) -> None:
        with cluster18.connect(database, autocommit=False) as one:
            one.execute("SELECT pg_sleep(%s)", [offset])
            one.rollback()
            while not done.is_set():
                one.execute("SELECT FROM posts LIMIT 1")
                one.execute("SELECT pg_sleep(0.2)")
                one.rollback()

    threads = [threading.Thread(target=overlapping, args=(n * 0.066,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        project.upgrade(pace=Pace(max_lock_timeout=0.4))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    told.wait_for("overlap; waiting for locks up to")


def test_a_statement_that_holds_its_lock_for_too_long_is_broken_off_and_leaves_nothing(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "op.execute('DO $$ BEGIN ALTER TABLE posts ADD COLUMN x text; PERFORM pg_sleep(60); END $$')"
    )
    with pytest.raises(LockstepError, match=r"held a lock for more than 0.1 s and was broken off.*plain\(\)"):
        project.upgrade(pace=Pace(max_hold=0.1), short_way=False)
    with cluster18.connect(database) as service:
        columns = service.execute("SELECT * FROM posts LIMIT 0").description or []
        assert [column.name for column in columns] == ["id", "title"]


def test_a_role_that_may_not_see_others_still_looks_and_says_what_it_cannot_see(
    cluster18: Cluster, database: str, tmp_path: Path, told: Told
) -> None:
    with cluster18.connect(database) as admin:
        admin.execute("DROP ROLE IF EXISTS plain_owner")
        admin.execute("CREATE ROLE plain_owner LOGIN")
        admin.execute("ALTER TABLE posts OWNER TO plain_owner")
        admin.execute("GRANT CREATE ON SCHEMA public TO plain_owner")
        admin.execute(f"GRANT CREATE ON DATABASE {database} TO plain_owner")
    url = cluster18.url(database, "psycopg").replace("postgres@", "plain_owner@")
    project = Project(tmp_path / "owned", url)
    project.revision("op.add_column('posts', sa.Column('x', sa.Text()))")
    with cluster18.connect(database, autocommit=False) as other:
        other.execute("SELECT FROM posts")
        with under_way(project.upgrade):
            line = told.wait_for("waiting for pid")
            assert "seen for" in line
            other.rollback()


@pytest.mark.parametrize(
    "wrong",
    [{"lock_timeout": 0}, {"max_lock_timeout": 0.01}, {"batch_time": -1}, {"connections": 0}],
    ids=str,
)
def test_a_pace_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LockstepError, match=next(iter(wrong))):
        Pace(**wrong)


# -- several migrators ----------------------------------------------------------------------------------

_ENV = "import lockstep\nlockstep.run()\n"


@pytest.mark.one_in(2)
def test_of_eight_migrators_one_applies_each_revision_and_the_others_wait(
    project: Project, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        project.revision(f"op.execute('INSERT INTO votes VALUES ({number}, -1)')\n"
                         f"op.create_index('votes_{number}', 'votes', ['n'])")  # fmt: skip
    (project.folder / "env.py").write_text(_ENV)
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\nsqlalchemy.url = {project.url}\n")
    outputs = [tmp_path / f"output{number}" for number in range(8)]
    command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with cluster18.connect(database, autocommit=False) as other, ExitStack() as stack:
        other.execute("LOCK TABLE votes IN SHARE MODE")  # until everybody has come
        migrators = []
        for output in outputs:
            process = subprocess.Popen(command, stderr=stack.enter_context(output.open("w")), env=environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            migrators.append(process)
        deadline = time.monotonic() + 60
        while sum("another migrator is at work: pid" in output.read_text() for output in outputs) < 7:
            assert time.monotonic() < deadline, [output.read_text() for output in outputs]
            time.sleep(0.05)
        other.rollback()
        assert [migrator.wait(60) for migrator in migrators] == [0] * 8
    with cluster18.connect(database) as connection:
        applied = connection.execute("SELECT post_id FROM votes WHERE n = -1 ORDER BY 1").fetchall()
        assert applied == [(1,), (2,), (3,)]
    assert sum(output.read_text().count("Running upgrade") for output in outputs) == 3
