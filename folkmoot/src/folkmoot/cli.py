"""The ``folkmoot`` command."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import psycopg
import sqlalchemy
import typer
from alembic import command
from alembic.util import CommandError
from argon2 import PasswordHasher
from granian import Granian
from granian.constants import Interfaces
from psycopg import errors
from psycopg.conninfo import make_conninfo
from rich.console import Console

from folkmoot import database, embedded, revisions
from folkmoot import recount as recounting
from folkmoot import reindex as reindexing
from folkmoot import seed as seeding
from folkmoot.app import create_app
from folkmoot.settings import Settings, SettingsError, load, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI

_STOPS = {signal.SIGINT, signal.SIGTERM}

main = typer.Typer(
    help="A service in which people register, write posts and vote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@main.command()
def serve(
    *,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Migrate another than the embedded database, too.")
    ] = False,
) -> None:
    """Serve the API; the embedded database is started and migrated first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # until the server takes over
    with database.explained():
        settings = load()
        signing_key(settings)
        _check_port(settings)
        with database.server(settings) as server:
            if migrate or settings.embedded:
                _migrate(settings, "head")
            _check_schema(settings)
            if isinstance(server, embedded.Server):
                threading.Thread(target=_keep_alive, args=(server, settings), daemon=True).start()
                if settings.folkmoot_embedded_port:
                    typer.echo(
                        f"PostgreSQL: 127.0.0.1:{server.port}, user {embedded.ROLE}, "
                        f"database {embedded.DATABASE}, password in {settings.data_dir / 'password'}"
                    )
            _serve(settings)


@main.command()
def migrate(revision: Annotated[str, typer.Argument(help="Where to stop.")] = "head") -> None:
    """Upgrade the database's schema."""
    with database.explained():
        settings = load()
        with database.server(settings):
            _migrate(settings, revision)
            typer.echo(str(_distance(settings)))


@main.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database; arguments are psql's."""
    with database.explained():
        settings = load()
        with database.server(settings):
            found = database.conninfo(settings)
            environment = {**os.environ}
            if password := found.pop("password", None):
                environment["PGPASSWORD"] = password  # not an argument, which every process can read
            programs = embedded.programs()
            program = str(programs / "psql") if programs else "psql"
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql handles it
            arguments = [program, make_conninfo(**found), *context.args]
            status = subprocess.run(arguments, env=environment, check=False).returncode  # noqa: S603
    raise typer.Exit(status)


@main.command()
def seed(
    *,
    users: Annotated[int, typer.Option(help="How many people to make.")] = 2_000,
    posts: Annotated[int, typer.Option(help="How many posts to make.")] = 10_000,
    votes: Annotated[int, typer.Option(help="How many votes to make.")] = 100_000,
    number: Annotated[int, typer.Option("--seed", help="The same number makes the same data.")] = 1,
    password: Annotated[
        str | None, typer.Option(help="What all of them log in with; without it nobody can.")
    ] = None,
) -> None:
    """Add made-up people, posts and votes to the database."""
    with database.explained():
        try:
            amounts = seeding.Amounts(users, posts, votes)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        settings = load()
        with database.server(settings), _at_head(settings) as connection:
            hashed = {"password_hash": PasswordHasher().hash(password)} if password else {}
            seeding.seed(connection, amounts, number=number, console=Console(stderr=True), **hashed)
            who = connection.execute("SELECT email FROM users ORDER BY id DESC LIMIT 1").fetchone()
    if password and who:
        typer.echo(f"Log in as {who[0]}, for one.")


@main.command()
def recount(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Compare only; exit status 1 if any differs.")
    ] = False,
) -> None:
    """Compare the number of votes on each post with its votes, and repair it; people can vote meanwhile."""
    with database.explained():
        settings = load()
        with database.server(settings), _at_head(settings) as connection:
            wrong = recounting.recount(connection, repair=not check, console=Console(stderr=True))
    for each in wrong:
        typer.echo(f"post {each.post_id}: kept {each.kept}, counted {each.counted}")
    if not wrong:
        typer.echo("exact")
    else:
        typer.echo(
            f"{len(wrong)} {'post differs' if len(wrong) == 1 else 'posts differ'}"
            + ("" if check else ", repaired")
        )
    raise typer.Exit(1 if wrong and check else 0)


@main.command()
def reindex(
    language: Annotated[
        str,
        typer.Argument(envvar="SEARCH_LANGUAGE", help="PostgreSQL's name of it: english, german, simple …"),
    ],
) -> None:
    """Set the language of search, and describe every post anew; the service can go on meanwhile."""
    with database.explained():
        settings = load()
        with database.server(settings), _at_head(settings) as connection:
            try:
                reindexing.reindex(connection, language, console=Console(stderr=True))
            except ValueError as error:
                raise SettingsError(str(error)) from None


@contextmanager
def _at_head(settings: Settings) -> Iterator[psycopg.Connection]:
    distance = _distance(settings)
    if distance.missing or distance.unknown:
        raise SettingsError(str(distance))
    with psycopg.connect(make_conninfo(**database.conninfo(settings)), autocommit=True) as connection:
        yield connection


def _migrate(settings: Settings, revision: str) -> None:
    distance = _distance(settings)
    if distance.unknown:
        raise SettingsError(str(distance))
    try:
        command.upgrade(revisions.config(), revision)
    except CommandError as error:
        raise SettingsError(str(error)) from None
    except sqlalchemy.exc.IntegrityError as error:
        reason = str(error.orig).splitlines()[0]
        raise SettingsError(f"The migration stopped: {reason}. {_half_done(settings)}".rstrip()) from None


def _check_schema(settings: Settings) -> None:
    """Say that the schema does not fit, or that a revision on it is half done while it fits."""
    distance, underway = _distance(settings), _half_done(settings)
    if distance.missing or distance.unknown:
        raise SettingsError(f"{distance} {underway}".rstrip())
    if not underway:
        return
    with psycopg.connect(make_conninfo(**database.conninfo(settings))) as connection:
        mismatch = revisions.mismatch(
            connection.execute(revisions.COLUMNS.replace("$1", "%s").encode(), [revisions.tables()])
        )
    if mismatch:
        raise SettingsError(f"{mismatch}. {underway} Run: folkmoot migrate")
    typer.echo(underway, err=True)


def _half_done(settings: Settings) -> str:
    with psycopg.connect(make_conninfo(**database.conninfo(settings)), autocommit=True) as connection:
        try:
            return revisions.half_done(connection.execute(revisions.UNDERWAY).fetchall())
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            return ""


def _distance(settings: Settings) -> revisions.Distance:
    with psycopg.connect(make_conninfo(**database.conninfo(settings))) as connection:
        found = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
        rows = connection.execute(revisions.CURRENT).fetchall() if found and found[0] else []
    return revisions.distance(row[0] for row in rows)


def _check_port(settings: Settings) -> None:
    """Say in one line that the address cannot be had; the server's own words are a traceback."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(
            f"HOST, PORT: cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        ) from None


def _serve(settings: Settings) -> None:
    os.register_at_fork(after_in_child=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _STOPS))
    server = Granian(
        "folkmoot.cli:worker",
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        interface=Interfaces.ASGI,
        factory=True,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
        log_level=settings.log_level,  # type: ignore[arg-type]
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.on_startup(lambda: typer.echo(f"Folkmoot listens on http://{host}:{settings.port} (API: /docs)"))
    server.serve()


def worker() -> FastAPI:
    """The application of one worker process.

    Granian loses a signal that comes before a worker serves, and then waits for that worker: such a signal
    is held back until it serves.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    app = create_app()
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def then_listen(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, signal.pthread_sigmask, signal.SIG_UNBLOCK, _STOPS)
            yield state

    app.router.lifespan_context = then_listen
    return app


def _keep_alive(server: embedded.Server, settings: Settings) -> None:
    """Start the embedded server again should it be killed."""
    while True:
        threading.Event().wait(0.5)
        try:
            if embedded.revive(server, settings):
                typer.echo("PostgreSQL had stopped and was started again", err=True)
        except embedded.ServerError as error:
            typer.echo(str(error), err=True)
