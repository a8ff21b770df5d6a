"""The Alembic project that a ``lockstep`` command is called in: found as ``alembic`` finds it."""

from __future__ import annotations

import os
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.operations import OPTION
from lockstep.revision.one_migrator import only_migrator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        help="Alembic's configuration file: alembic.ini or pyproject.toml, or both, once each.",
    ),
]
Section = Annotated[str, typer.Option("--name", "-n", help="The section of alembic.ini to use.")]

NOT_ADOPTED = "{env} does not call lockstep.run(); `lockstep init` puts it there, or shows what to write"


def alembic_config(files: list[str] | None, section: str = "alembic") -> Config:
    """The configuration that ``alembic -c FILE -n SECTION`` reads, ALEMBIC_CONFIG included."""
    named = files or [name for name in (os.environ.get("ALEMBIC_CONFIG"),) if name]
    toml = [name for name in named if Path(name).name == "pyproject.toml"]
    ini = [name for name in named if name not in toml]
    if len(toml) > 1 or len(ini) > 1:
        raise LockstepError("--config takes one ini file and one pyproject.toml at most")
    for name in named:
        if not Path(name).exists():
            raise LockstepError(f"there is no file {name}")
    config = Config(
        file_=ini[0] if ini else "alembic.ini",
        toml_file=toml[0] if toml else "pyproject.toml",
        ini_section=section,
    )
    if not config.get_alembic_option("script_location"):
        raise LockstepError(
            "no Alembic project here: neither alembic.ini nor [tool.alembic] in pyproject.toml says where "
            "its scripts are; change to the project's folder, or name the file with --config"
        )
    return config


def env_file(script: ScriptDirectory) -> Path:
    """The project's env.py, as it is best shown."""
    path = Path(script.dir, "env.py").absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error of Lockstep's or Alembic's as one line, and exit with status 1."""
    try:
        yield
    except CommandError as error:
        typer.echo(f"lockstep: {error}", err=True)
        raise typer.Exit(1) from None


def on_each_database(
    files: list[str] | None,
    section: str,
    work: Callable[[Connection, str, tuple[str, ...]], None],
    *,
    changes: bool = False,
) -> None:
    """Run ``work`` through the project's own env.py, with its connection, version table and heads: once for
    each time that it calls lockstep.run(). What ``changes`` something does so while no migrator is at work.
    Whatever goes wrong is one line, and exit status 1.
    """
    with one_line_errors():
        config = alembic_config(files, section)
        script = ScriptDirectory.from_config(config)
        env = env_file(script)
        if not env.exists():
            raise LockstepError(f"there is no {env}; `alembic init` makes one")
        found: list[Exception] = []

        def read(heads: Any, context: Any) -> list[Any]:
            migrator = context.opts.get(OPTION)
            if migrator is None or context.connection is None:
                raise LockstepError(NOT_ADOPTED.format(env=env))
            connection, ledger = context.connection, migrator.ledger
            try:
                if changes:
                    connection.commit()
                    name, schema = context.version_table, context.version_table_schema
                    with only_migrator(connection, name, schema, waits=False):
                        with connection.begin():
                            ledger.create(connection)
                        work(connection, ledger.version_table, tuple(heads))
                else:
                    work(connection, ledger.version_table, tuple(heads))
            except Exception as error:
                found.append(error)
                raise
            return []

        try:
            with EnvironmentContext(config, script, fn=read, dont_mutate=True):
                script.run_env()
        except (CommandError, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if error in found and not isinstance(error, DBAPIError):
                raise
            raise LockstepError(_raised(error, env)) from error


def _raised(error: Exception, env: Path) -> str:
    """Where and what env.py, or what it imports, has raised; and that it has not adopted Lockstep, if so."""
    if isinstance(error, SyntaxError):
        said = f"{error.filename}, line {error.lineno}: {error.msg}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == env.absolute()]
        place = f", line {frames[-1].lineno}" if frames else ""
        text: Any = error.orig if isinstance(error, DBAPIError) else error
        first = (str(text).strip().splitlines() or [""])[0]
        said = f"{env}{place}: {type(text).__name__}: {first}"
    if "lockstep" not in env.read_text(encoding="utf-8", errors="replace"):
        said += f" ({NOT_ADOPTED.format(env=env)})"
    return said
