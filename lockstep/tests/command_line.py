"""``alembic`` and ``lockstep`` as somebody types them: processes of their own, in a project's folder."""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import traceback
import warnings
from typing import IO, TYPE_CHECKING

from alembic.config import main as alembic
from flask.cli import main as flask

import lockstep.commands.main as _  # noqa: F401  # imported before the process is copied
from lockstep.commands.entry import run as lockstep_

if TYPE_CHECKING:
    from pathlib import Path

ENV = """
import sqlalchemy as sa
from alembic import context
import lockstep

{before}
lockstep.run(url={url!r})
"""

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = {name!r}
down_revision = {down!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
"""


def typed(folder: Path, program: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of a command.

    Its process is a copy of this one, which spares it the second that importing everything takes.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # threads of the test runner's, which a copy does without
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            status = 70
            try:
                status = _run(folder, program, arguments, environment, (output, errors))
            finally:
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        output.seek(0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(ended), output.read(), errors.read()


def _run(
    folder: Path,
    program: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    streams: tuple[IO[str], IO[str]],
) -> int:
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.fileno(), number)
    sys.stdout, sys.stderr = streams
    sys.stdin = io.StringIO()  # nobody is there to be asked
    os.chdir(folder)
    os.environ.update({"COLUMNS": "500", **environment})
    for name in (None, "alembic"):  # the test runner's
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET if name else logging.WARNING)
    warnings.simplefilter("default")
    sys.argv = [program, *arguments]
    try:
        if program == "alembic":
            alembic(prog="alembic")
        elif program == "flask":
            flask()
        else:
            lockstep_()
    except SystemExit as exit_:
        return exit_.code & 0xFF if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:  # noqa: BLE001  # as the interpreter does
        traceback.print_exc()
        return 1
    finally:
        for stream in streams:
            stream.flush()
    return 0


def made(folder: Path, url: str, before: str = "") -> Path:
    """A project with an alembic.ini in ``folder``, which has adopted Lockstep."""
    (folder / "migrations" / "versions").mkdir(parents=True)
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (folder / "migrations" / "env.py").write_text(ENV.format(url=url, before=before))
    return folder


def revision(folder: Path, name: str, upgrade: str, down: str | None = None, downgrade: str = "pass") -> None:
    (folder / "migrations" / "versions" / f"{name}.py").write_text(
        REVISION.format(name=name, down=down, upgrade=upgrade, downgrade=downgrade)
    )
