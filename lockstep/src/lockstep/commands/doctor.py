"""``lockstep doctor``: looks for what everybody meets, and says what to type."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from alembic.script import ScriptDirectory

from lockstep.commands.project import (
    ConfigFiles,
    Project,
    Section,
    alembic_config,
    in_silence,
    one_line_errors,
    with_advice,
)
from lockstep.doctor.examination import Doctor, Examination
from lockstep.errors import LockstepError

#: Exit statuses: nothing found, something found, could not look.
WELL, ILL, UNSEEN = 0, 1, 2


def register(main: typer.Typer) -> None:
    """Add the command."""
    main.command()(doctor)


def doctor(
    errors: Annotated[
        str | None, typer.Argument(help="A file with what a command printed, - for standard input.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Find what everybody meets, and say what to type: `alembic upgrade head 2>&1 | lockstep doctor -`.

    For any Alembic project on PostgreSQL; nothing is changed. Exit status 1 where something is found, 2 where
    nothing is and not all could be looked at.
    """
    with one_line_errors():
        result = _examined(config, name, _read(errors))
    if as_json:
        told = {"found": [one.to_json() for one in result.found], "not_looked_at": result.unseen}
        typer.echo(json.dumps(told, indent=2))
    else:
        for one in result.found:
            typer.echo("\n".join(one.lines()))
        for line in result.unseen:
            typer.echo(f"could not look: {line}", err=True)
        if not result.found and not result.unseen:
            typer.echo("nothing found")
    if result.found or result.unseen:
        raise typer.Exit(ILL if result.found else UNSEEN)


def _read(errors: str | None) -> str:
    if errors is None:
        return ""
    try:
        data = sys.stdin.buffer.read() if errors == "-" else Path(errors).read_bytes()
    except OSError as error:
        raise LockstepError(f"{errors} cannot be read: {error.strerror}") from error
    return data.decode(errors="replace")


def _examined(files: list[str] | None, section: str, errors: str) -> Examination:
    config = alembic_config(files, section)
    script = ScriptDirectory.from_config(config)
    folders = config.get_version_locations_list() or [str(Path(script.dir, "versions"))]
    doctor = Doctor(config, Path(script.dir, "env.py"), [Path(each).absolute() for each in folders], errors)
    try:
        with in_silence(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            Project(files, section).run(doctor.look, dont_mutate=True)
        if not doctor.looked:
            raise LockstepError("env.py does not call context.run_migrations()")  # noqa: TRY301  # as below
    except Exception as error:  # noqa: BLE001  # whatever env.py raises is looked at
        said = doctor.say((str(error).splitlines() or [type(error).__name__])[0])
        doctor.result.unseen.append(with_advice(said))
        if not doctor.looked:
            doctor.look_without(error)
    return doctor.result
