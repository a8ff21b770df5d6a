"""``lockstep init``: the lines that an existing project's env.py needs."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import typer
from alembic.script import ScriptDirectory

from lockstep.commands.env_file import adopted
from lockstep.commands.project import alembic_config, env_file
from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from pathlib import Path

_LEFT = """\
{env} was left as it is, since it is not one of Alembic's templates: {reason}.
Above is what comes near. Where it makes an engine of its own, hand that over, synchronous or not:
lockstep.run(connection=engine). What it gives to context.configure(), give to lockstep.run()."""


def adopt(files: list[str] | None, section: str) -> None:
    """Write lockstep.run() into env.py, where that is one of Alembic's templates; print what was changed, or
    what is to be written. Raises LockstepError where there is no project, and exits with 1 where env.py was
    left as it is.
    """
    script = ScriptDirectory.from_config(alembic_config(files, section))
    env = env_file(script)
    if not env.exists():
        raise LockstepError(f"there is no {env}; `alembic init` makes one")
    raw = env.read_bytes().decode("utf-8")
    before = raw.replace("\r\n", "\n")
    try:
        found = adopted(before, str(env))
    except SyntaxError as error:
        raise LockstepError(f"{env}, line {error.lineno}: {error.msg}") from None
    if found is None:
        typer.echo(f"{env} calls lockstep.run() already")
        return
    after, reason = found
    _show(env, before, after)
    if reason:
        typer.echo(_LEFT.format(env=env, reason=reason), err=True)
        raise typer.Exit(1)
    env.write_bytes((after.replace("\n", "\r\n") if "\r\n" in raw else after).encode())
    typer.echo(f"{env} calls lockstep.run() now; `alembic upgrade head` as before")


def _show(env: Path, before: str, after: str) -> None:
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(env), f"{env} with Lockstep", lineterm=""
    ):
        typer.echo(line)
