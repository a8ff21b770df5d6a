"""Real PostgreSQL servers for tests and benchmarks: a cluster of their own, thrown away afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from folkmoot.embedded import Server

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


class Cluster:
    """One PostgreSQL server on a socket in a folder of its own; superuser ``postgres``, no password.

    The folder is in memory where the settings say that nothing has to survive a power cut.
    """

    def __init__(self, version: int = 18, settings: Sequence[str] = FAST, *, port: int | None = None) -> None:
        self.version = version
        self.port = port or 5432
        self._settings = [*settings, "max_connections=200"]
        self._settings.append("listen_addresses=" + ("127.0.0.1" if port else ""))
        place = memory() if "fsync=off" in settings else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"pg{version}-", dir=place))
        self.server = Server(self.folder, version=version, port=self.port)
        self.bin, self.data = self.server.bin, self.server.data
        self.server.create("postgres", trust_tcp=True, sync=False)
        self.start()

    def log(self) -> str:
        """What the server wrote to its log."""
        return self.server.log.read_text() if self.server.log.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it accepts connections (crash recovery included)."""
        self.server.start(self._settings)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is a crash: no checkpoint, recovery at the next start."""
        self.server.stop(mode)

    def crash(self) -> None:
        """What ``stop("immediate")`` does, without the tenths of a second in which pg_ctl looks at it."""
        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        while self.server.running_port() is not None:
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
            env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return "\n".join(
            line for line in done.stdout.splitlines()
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        )  # fmt: skip
