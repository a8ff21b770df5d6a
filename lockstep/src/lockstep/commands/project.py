"""The Alembic project that a ``lockstep`` command is called in: found as ``alembic`` finds it."""

from __future__ import annotations

import configparser
import logging
import os
import re
import tomllib
import traceback
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError, load_python_file
from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.operations import OPTION
from lockstep.postgres.secrets import without_secrets
from lockstep.revision.one_migrator import only_migrator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Ledger

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        help="Alembic's configuration file: alembic.ini or pyproject.toml, or both, once each.",
    ),
]
Section = Annotated[str, typer.Option("--name", "-n", help="The section of alembic.ini to use.")]

X = Annotated[
    list[str] | None, typer.Option("-x", help="For env.py, as Alembic's own: `lockstep -x tenant=acme plan`.")
]

#: What to do about what drivers and Alembic say, by a pattern of it.
_ADVICE = {
    r"Can't locate revision identified by": "`alembic history` shows those that there are",
    r"'utf-8' codec can't decode": "save it as UTF-8",
    r"Interpolation": "% is %% in an ini file",
    r"resolve host|translate host|Name or service not known|nodename nor servname":
        "mend the host in the URL; an @ in a password is %40 (%%40 in an ini file)",
    r"Connection refused|timeout expired": "is the server running, and the URL its?",
    r'database "[^"]*" does not exist': "create it, or mend the URL",
    r"authentication failed|no password supplied":
        "mend user and password in the URL, where % is %25 and @ is %40 (%%25, %%40 in an ini file)",
    r'role "[^"]*" does not exist': "mend the user in the URL, or CREATE ROLE",
    r"permission denied for table \S*": "GRANT SELECT on it to the role",
    r"Could not parse SQLAlchemy URL|Can't load plugin: sqlalchemy.dialects":
        "the URL should be like postgresql+psycopg://user:password@host/database",
    r"Revision \S+ referenced from": "put its file back, or mend the down_revision that names it",
    r"is present more than once": "give one of the files another revision",
    r"Cycle is detected": "mend the down_revision of one of them",
    r"Multiple head revisions are present": "`lockstep rebase`, or `alembic merge heads`",
}  # fmt: skip

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
    for name in named or ("alembic.ini", "pyproject.toml"):
        with suppress(FileNotFoundError):  # what cannot be read Alembic takes for one that is not there
            _readable(name)
    config = Config(
        file_=ini[0] if ini else "alembic.ini",
        toml_file=toml[0] if toml else "pyproject.toml",
        ini_section=section,
    )
    try:
        location = config.get_alembic_option("script_location")
        _ = config.toml_alembic_config  # which is read when it is asked for, and by Alembic anyway
    except (configparser.Error, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "pyproject.toml" if isinstance(error, tomllib.TOMLDecodeError) else config.config_file_name
        said = without_secrets(" ".join(str(error).split()))
        raise LockstepError(f"{kind} cannot be read: {said}") from None
    if not location:
        raise LockstepError(
            "no Alembic project here: neither alembic.ini nor [tool.alembic] in pyproject.toml says where "
            "its scripts are; change to the project's folder, or name the file with --config"
        )
    return config


def _readable(name: str) -> None:
    try:
        with Path(name).open():
            pass
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LockstepError(
            f"{name} cannot be read: {error.strerror}: name another file with --config"
        ) from None


def env_file(script: ScriptDirectory) -> Path:
    """The project's env.py, as it is best shown."""
    return shown(Path(script.dir, "env.py"))


def shown(path: Path) -> Path:
    """A path as it is best shown: from the current folder, where it is below that."""
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@contextmanager
def in_silence() -> Iterator[None]:
    """Without the lines that Alembic and env.py log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error of the project's or of what was typed as one line, and exit with status 2."""
    try:
        with warnings.catch_warnings():
            # Alembic goes on, as far as it comes.
            warnings.filterwarnings(
                "error", "Revision .* is (present more than once|not present)", UserWarning
            )
            yield
    except (typer.Exit, typer.Abort):
        raise
    except (CommandError, RevisionError, UserWarning) as error:
        typer.echo(f"lockstep: {with_advice(str(error))}", err=True)
        raise typer.Exit(2) from None
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        loading = [n for n, one in enumerate(frames) if one.name == load_python_file.__name__]
        if not loading:
            raise
        inside = [one for one in frames[loading[-1] :] if not one.filename.startswith("<frozen")]
        said = _raised(error, Path(inside[-1].filename), adopted=False)
        typer.echo(f"lockstep: {said}", err=True)
        raise typer.Exit(2) from None


_x: list[str] = []


def keep_x(given: X = None) -> None:
    """Keep what env.py is to be given by context.get_x_argument(); before the command."""
    _x[:] = given or []


def _x_argument(as_dictionary: bool = False) -> Any:  # noqa: FBT001, FBT002  # Alembic's signature
    return {name: value for name, _, value in (one.partition("=") for one in _x)} if as_dictionary else [*_x]


class Project:
    """An Alembic project. Where its env.py should have adopted Lockstep, an error of it says so."""

    def __init__(self, files: list[str] | None, section: str, *, adopted: bool = False) -> None:
        self._adopted = adopted
        self.config = alembic_config(files, section)
        self.script = ScriptDirectory.from_config(self.config)
        self.env = env_file(self.script)
        named = self.config.config_file_name or self.config.toml_file_name or ""
        self.root = Path(named).absolute().parent if Path(named).exists() else Path.cwd()
        """The folder of its configuration."""
        self.run_env: Callable[[], object] = self.script.run_env
        """What connects and migrates; for a rehearsal there may be another one."""
        if not self.env.exists():
            raise LockstepError(f"there is no {self.env}; `alembic init` makes one")

    def load(self) -> None:
        """Read the revisions' files; LockstepError where one of them can't be."""
        try:
            self.script.get_heads()
        except CommandError:
            raise
        except (RevisionError, UserWarning) as error:
            raise LockstepError(str(error)) from error
        except (Exception, SystemExit) as error:
            raise LockstepError(_raised(error, Path(self.script.dir), adopted=False)) from error

    def run(self, function: Callable[[Any, MigrationContext], Iterable[Any]], **options: Any) -> None:
        """Run env.py, which calls the function with the heads and Alembic's migration context: once for each
        time that it migrates. Whatever env.py raises is a LockstepError; what the function raises is not.
        """
        found: list[BaseException] = []
        called: list[MigrationContext] = []

        def watched(heads: Any, context: MigrationContext) -> Iterable[Any]:
            called.append(context)
            try:
                if context.dialect.name != "postgresql":
                    raise LockstepError(  # noqa: TRY301  # it is not env.py's fault, as below
                        f"Lockstep is for PostgreSQL; {self.env} connects to {context.dialect.name}"
                    )
                return function(heads, context)
            except (Exception, SystemExit) as error:
                found.append(error)
                raise

        try:
            with EnvironmentContext(self.config, self.script, fn=watched, **options) as environment:
                environment.get_x_argument = _x_argument  # type: ignore[method-assign]  # what its proxy calls
                self.run_env()
        except (CommandError, typer.Exit, typer.Abort):
            raise
        except (Exception, SystemExit) as error:  # sys.exit() in env.py would end this program, too
            if error in found and not isinstance(error, DBAPIError):
                raise
            raise LockstepError(_raised(error, self.env, adopted=self._adopted)) from error
        if not called:
            raise LockstepError(f"{self.env} does not call context.run_migrations()")


def with_advice(said: str) -> str:
    """An error with what helps."""
    helps = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, said)), "")
    return f"{said}: {helps}" if helps else said


def on_each_database(
    files: list[str] | None,
    section: str,
    work: Callable[[Connection, str, tuple[str, ...]], None],
    *,
    changes: bool = False,
) -> None:
    """Run ``work`` through the project's own env.py, with its connection, version table and heads: once for
    each time that it calls lockstep.run(). What ``changes`` something does so while no migrator is at work.
    Whatever goes wrong is one line, and exit status 2.
    """
    with one_line_errors():
        project = Project(files, section, adopted=True)

        def read(heads: Any, context: MigrationContext) -> list[Any]:
            migrator = context.opts.get(OPTION)
            if migrator is None or context.connection is None:
                raise LockstepError(NOT_ADOPTED.format(env=project.env))
            connection, ledger = context.connection, migrator.ledger
            if not changes:
                work(connection, ledger.version_table, tuple(heads))
                return []
            connection.commit()
            name, schema = context.version_table, context.version_table_schema
            with only_migrator(connection, name, schema, waits=False):
                with connection.begin():
                    ledger.create(connection)
                work(connection, ledger.version_table, tuple(heads))
            return []

        project.run(read, dont_mutate=True)


def look_at_each_database(
    files: list[str] | None,
    section: str,
    look: Callable[[Project, MigrationContext, tuple[str, ...]], None],
) -> None:
    """Look through the project's own env.py, whether or not it has adopted Lockstep: once for each time that
    it migrates. Whatever goes wrong is one line, and exit status 2.
    """
    with one_line_errors():
        project = Project(files, section)

        def read(heads: Any, context: MigrationContext) -> list[Any]:
            if context.connection is None:
                raise LockstepError(f"{project.env} gives no connection to context.configure()")
            look(project, context, tuple(heads))
            return []

        with in_silence():
            project.run(read, dont_mutate=True)


def ledger_of(context: MigrationContext) -> Ledger | None:
    """The ledger of the version table; None where env.py does not call lockstep.run()."""
    migrator = context.opts.get(OPTION)
    return None if migrator is None else migrator.ledger


def _raised(error: BaseException, env: Path, *, adopted: bool) -> str:
    """Where and what env.py, or what it imports, has raised; and that it should have adopted Lockstep."""
    if isinstance(error, SyntaxError):
        said = f"{shown(Path(error.filename or env))}, line {error.lineno}: {error.msg}"
    else:
        folder = env.absolute() if env.is_dir() else env.absolute().parent
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).is_relative_to(folder) and "site-packages" not in frame.filename
        ]
        where = shown(Path(frames[-1].filename)) if frames else env
        place = f", line {frames[-1].lineno}" if frames else ""
        text: Any = error.orig if isinstance(error, DBAPIError) else error
        first = (str(text).strip().splitlines() or [""])[0]
        said = f"{where}{place}: {type(text).__name__}: {without_secrets(first)}"
    if adopted and "lockstep" not in env.read_text(encoding="utf-8", errors="replace"):
        said += f" ({NOT_ADOPTED.format(env=env)})"
    return said
