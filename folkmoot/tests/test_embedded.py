"""The embedded server: made once, shared, stopped by the last, and none the worse for a SIGKILL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from folkmoot.postgres import server as servers
from folkmoot.postgres import sharing
from folkmoot.postgres.server import Server, ServerError
from folkmoot.settings import Settings, load
from running import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = os.geteuid() == 0


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(folder)
    return load()


def connect(settings: Settings) -> psycopg.Connection:
    return psycopg.connect(**sharing.conninfo(settings), autocommit=True)  # type: ignore[arg-type]


def postmaster(settings: Settings) -> int:
    lock = settings.data_dir / "postgresql-18" / "data" / "postmaster.pid"
    return int(lock.read_text().splitlines()[0])


def test_users_share_one_server_and_the_last_one_stops_it(settings: Settings) -> None:
    with sharing.running(settings):
        first = postmaster(settings)
        with sharing.running(settings):
            assert postmaster(settings) == first
        connect(settings).close()
    with pytest.raises(ServerError, match="no embedded PostgreSQL is running"):
        sharing.conninfo(settings)


def test_what_was_committed_survives_a_sigkill_of_everything(settings: Settings, folder: Path) -> None:
    # A process that commits, tells, and is killed together with its server: no shutdown, no checkpoint.
    program = f"""
import os, signal, psycopg
from folkmoot.postgres import server as servers
from folkmoot.postgres import sharing
from folkmoot.settings import load
settings = load(folkmoot_data_dir={str(settings.data_dir)!r})
with sharing.running(settings):
    with psycopg.connect(**sharing.conninfo(settings)) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 10000)")
    lock = settings.data_dir / "postgresql-18" / "data" / "postmaster.pid"
    os.kill(int(lock.read_text().splitlines()[0]), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=False)
    assert done.returncode == -signal.SIGKILL
    with sharing.running(settings), connect(settings) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (10_000,)


def test_a_server_whose_process_id_went_to_somebody_else_starts_again(settings: Settings) -> None:
    lock = settings.data_dir / "postgresql-18" / "data" / "postmaster.pid"
    with sharing.running(settings):
        lines = lock.read_text().splitlines()
    for leftover in (lock, lock.parents[1] / ".s.PGSQL.5432.lock"):
        leftover.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with sharing.running(settings):
        assert postmaster(settings) != os.getpid()


def test_a_half_made_cluster_is_made_anew(settings: Settings) -> None:
    unfinished = settings.data_dir / "postgresql-18" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with sharing.running(settings):
        connect(settings).close()
    assert not unfinished.exists()


def test_a_server_that_died_is_started_again(settings: Settings) -> None:
    with sharing.running(settings) as server:
        assert sharing.revive(server, settings) is False
        os.kill(postmaster(settings), signal.SIGKILL)
        while server.running_port() is not None:
            pass
        assert sharing.revive(server, settings) is True
        connect(settings).close()


def test_a_server_that_dies_just_when_it_is_joined_is_started_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_to = Server.connect

    def dies_first(server: Server, role: str) -> psycopg.Connection:
        monkeypatch.setattr(Server, "connect", connect_to)
        os.kill(postmaster(settings), signal.SIGKILL)
        return server.connect(role)

    with sharing.running(settings):
        killed = postmaster(settings)
        monkeypatch.setattr(Server, "connect", dies_first)
        with sharing.running(settings):
            assert postmaster(settings) != killed
            connect(settings).close()


def test_a_folder_with_a_long_and_odd_name_works(folder: Path) -> None:
    settings = load(folkmoot_data_dir=folder / 'it\'s "odd", $HOME {} %d' / ("long" * 25))
    with sharing.running(settings), connect(settings) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_data_is_closed_to_other_accounts(settings: Settings) -> None:
    with sharing.running(settings):
        server = settings.data_dir / "postgresql-18"
        assert server.stat().st_mode & 0o077 == 0
        assert (server / "data").stat().st_mode & 0o077 == 0


def test_on_a_port_it_asks_for_the_password(settings: Settings) -> None:
    port = free_port()
    listening = load(folkmoot_embedded_port=port)
    with sharing.running(listening):
        password = (settings.data_dir / "password").read_text().strip()
        where = f"host=127.0.0.1 port={port} user=folkmoot dbname=folkmoot"
        with psycopg.connect(f"{where} password={password}") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{where} password=wrong")
        # Who asks for no port shares it, who asks for another is told.
        with sharing.running(settings):
            connect(settings).close()
        other = load(folkmoot_embedded_port=free_port())
        with (
            pytest.raises(ServerError, match=r"^FOLKMOOT_EMBEDDED_PORT: .* already running"),
            sharing.running(other),
        ):
            pass
        assert postmaster(settings)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    first = load(folkmoot_embedded_port=free_port(), folkmoot_data_dir=folder / "one")
    second = load(folkmoot_embedded_port=first.folkmoot_embedded_port, folkmoot_data_dir=folder / "another")
    taken = f"^FOLKMOOT_EMBEDDED_PORT: {first.folkmoot_embedded_port} is in use by another program$"
    with sharing.running(first), pytest.raises(ServerError, match=taken), sharing.running(second):
        pass


def test_a_data_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").touch()
    settings = load(folkmoot_data_dir=folder / "file" / "data")
    with (
        pytest.raises(ServerError, match=r"^FOLKMOOT_DATA_DIR: .* cannot be used: Not a directory$"),
        sharing.running(settings),
    ):
        pass


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that everybody can read."""
    made = Path(tempfile.mkdtemp(prefix="folkmoot-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_an_ordinary_user_makes_it_and_root_goes_on_with_it_under_their_account(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = servers.programs()
    assert installed is not None
    monkeypatch.setattr(servers, "COPIES", open_folder / "copies")
    nobody = pwd.getpwnam("nobody") if ROOT else pwd.getpwuid(os.getuid())
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if ROOT else {}
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    # All is imported before it is another user, who may not be able to read it.
    program = f"""
import os
from pathlib import Path
from folkmoot.postgres import server, sharing
from folkmoot.settings import load
server.programs = lambda: Path({str(servers.reachable(installed, who))!r})
settings = load(folkmoot_data_dir={str(data)!r})
if {ROOT}:
    os.setgroups([])
    os.setresgid(*[{nobody.pw_gid}] * 3)
    os.setresuid(*[{nobody.pw_uid}] * 3)
for _ in range(2):
    with sharing.running(settings):
        pass
"""
    subprocess.run([sys.executable, "-c", program], cwd=open_folder, check=True)
    cluster = data / "postgresql-18" / "data"
    assert cluster.stat().st_uid == nobody.pw_uid
    settings = load(folkmoot_data_dir=data)
    with sharing.running(settings), connect(settings) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert cluster.stat().st_uid == nobody.pw_uid


# The version before had an account of its own for it; root's own is one that root has copied.
@pytest.mark.parametrize("owner", [4711, 0] if ROOT else [os.geteuid()])
def test_an_existing_folder_goes_on_working_whoever_owns_it(settings: Settings, owner: int) -> None:
    with sharing.running(settings), connect(settings) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    folder = settings.data_dir / "postgresql-18"
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, -1)
    with sharing.running(settings), connect(settings) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    assert (folder / "data").stat().st_uid == (owner or servers.unprivileged()[0])


def test_programs_that_root_alone_can_reach_are_copied_and_nothing_is_opened(
    settings: Settings, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = servers.programs()
    assert installed is not None
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "packages").symlink_to(installed.parents[2])
    inside = closed / "packages" / installed.relative_to(installed.parents[2])
    monkeypatch.setattr(servers, "programs", lambda: inside)
    monkeypatch.setattr(servers, "COPIES", open_folder / "copies")
    for _ in range(2):
        with sharing.running(settings), connect(settings) as connection:
            assert connection.execute("SELECT to_tsvector('english', 'rivers')::text").fetchone() == (
                "'river':1",
            )
    assert (open_folder / "copies").exists() == ROOT
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not os.listxattr(closed)
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
