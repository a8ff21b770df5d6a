"""PostgreSQL's own programs: which pg_dump and which pg_restore, and how they are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import make_conninfo

from folkmoot.backups.errors import BackupError
from folkmoot.postgres import server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The first version whose pg_restore sets what servers before it do not know.
_SETS_MORE = 17
#: What PostgreSQL's programs and Python say where a disk is full.
FULL = "No space left on device"


def installed(name: str) -> list[tuple[int, Path]]:
    """The programs of this name and their major versions: that on PATH, and that of the embedded server."""
    folder = server.programs()
    places = [shutil.which(name), str(folder / name) if folder else None]
    found = [(major_of(version(Path(place))), Path(place)) for place in places if place]
    return [(major, path) for major, path in found if major]


def choose(name: str, major: int, programs: Iterable[tuple[int, Path]] | None = None) -> Path:
    """The program for a server of this major version: of its own version, else of the next newer one.

    An older pg_dump does not know what a newer server has; and what pg_restore sends since 17
    (``transaction_timeout``), a server before 17 refuses. BackupError where there is no other.
    """
    found = sorted(installed(name) if programs is None else programs)
    for known, path in found:
        if major <= known and (known < _SETS_MORE or major >= _SETS_MORE):
            return path
    has = (
        f"{name} here is {' and '.join(str(known) for known, _ in found)}" if found else f"there is no {name}"
    )
    raise BackupError(
        f"The server is PostgreSQL {major}, and {has}: install PostgreSQL {major}'s programs (on Debian: "
        f"postgresql-client-{major}) and have them on PATH."
    )


def run(program: Path, *arguments: str, conninfo: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program on this database; `ended` waits for it. The password is not an argument, which every
    process could read.
    """
    parameters = dict(conninfo)
    environment = {**os.environ, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = password
    return subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
        [str(program), *arguments, "--dbname", make_conninfo(**parameters)],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace",
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> None:
    """Wait for a program; BackupError with its own words where it failed. It ends with whoever waits."""
    try:
        said = process.communicate()[1]
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        name = Path(str(process.args[0])).name if isinstance(process.args, list) else "it"
        lines = [line for line in said.splitlines() if "error:" in line] or said.splitlines()
        raise BackupError(lines[0] if lines else f"{name} ended with {process.returncode}")


def version(program: Path) -> str:
    """Such as 18.4; empty where it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [str(program), "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return ""
    found = re.search(r"\(PostgreSQL\) (\d[\w.]*)", said)
    return found[1] if found else ""


def major_of(version: str) -> int:
    """18 of 18.4, of 19beta1, and of 15.14 (Debian 15.14-0+deb12u1)."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0
