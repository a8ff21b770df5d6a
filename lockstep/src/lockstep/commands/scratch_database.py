"""A scratch database in which a project's own env.py runs, in place of the one that it names."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import typer
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from lockstep.commands.project import in_silence
from lockstep.errors import LockstepError
from lockstep.postgres import catalog, embedded
from lockstep.postgres.session import execute
from lockstep.snapshot import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import URL, Connection

    from lockstep.commands.project import Project

#: What ``--server`` takes beside a URL.
EMBEDDED = "embedded"

_ROLES = "SELECT rolname FROM pg_roles WHERE rolname <> current_user AND NOT starts_with(rolname, 'pg_')"


class ScratchDatabase:
    """A database of its own for a project's revisions. Use it as a context manager.

    It is created on the server that env.py connects to, or on that of the URL ``server``, and dropped at the
    end; what env.py connects to is only read. Where the role may not create it there, it is created on the
    embedded server, if that is installed; ``embedded`` in place of the URL asks for that one.
    """

    def __init__(self, project: Project, server: str | None) -> None:
        self.project = project
        self._database: str | None = None
        self._embedded = ExitStack()
        self._asked = server
        try:
            self._server = make_url(server) if server and server != EMBEDDED else None
        except ArgumentError:
            raise LockstepError(
                f"--server takes a URL, like postgresql://user@host/postgres, or {EMBEDDED}"
            ) from None

    def __enter__(self) -> Self:
        try:
            if self._asked == EMBEDDED:
                self._embed()
            self._renew()
        except BaseException:
            with suppress(LockstepError):  # the one that is under way says more
                self._drop()
            self._embedded.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._embedded:
            self._drop()

    def run(self, function: Callable[..., Iterable[Any]], **options: Any) -> None:
        """Run env.py in the scratch database, as ``Project.run`` does."""
        with scratch.led_to(self._database, self._server), in_silence():
            self.project.run(_once(function), **options)

    def _renew(self) -> None:
        self._database = name = scratch.name()
        try:
            self._on_the_server(lambda connection: scratch.create(connection, name))
        except scratch.MayNotError:
            if self._server is not None or embedded.programs() is None:
                raise
            self._embed()
            self._on_the_server(lambda connection: scratch.create(connection, name))

    def _embed(self) -> None:
        """Go to the embedded server, with the roles that the project's own server has."""
        user, roles = self._on_the_server(
            lambda connection: (
                str(catalog.scalar(connection, "SELECT current_user")),
                [str(name) for (name,) in catalog.rows(connection, _ROLES)],
            )
        )[0]
        self._server = self._embedded.enter_context(embedded.server(user))
        typer.echo(f"revisions run on the embedded PostgreSQL {embedded.VERSION}", err=True)

        def make(connection: Connection) -> None:
            for name in roles:
                execute(connection, f"CREATE ROLE {catalog.quote(name)}")
            connection.commit()

        self._on_the_server(make)

    def _drop(self) -> None:
        name = self._database
        if name is not None:
            self._on_the_server(lambda connection: scratch.drop(connection, name))
        self._database = None

    def _on_the_server(self, work: Callable[[Connection], Any]) -> list[Any]:
        found: list[Any] = []

        def do(_heads: Any, context: MigrationContext) -> list[Any]:
            found.append(work(connection_of(context)))
            return []

        with scratch.led_to(None, self._server), in_silence():
            self.project.run(_once(do), dont_mutate=True)
        if not found:
            raise LockstepError(f"{self.project.env} does not call context.run_migrations()")
        return found


def connection_of(context: MigrationContext) -> Connection:
    """The connection that env.py gave to Alembic."""
    if context.connection is None:
        raise LockstepError("env.py gives no connection to context.configure()")
    return context.connection


def over_psycopg(url: URL) -> URL:
    """The URL of the same database for psycopg, where env.py connects over another driver."""
    if url.get_driver_name() == "psycopg":
        return url
    query = {name: value for name, value in url.query.items() if name in {"host", "port"}}
    return url.set(drivername="postgresql+psycopg", query=query)


def _once(function: Callable[..., Iterable[Any]]) -> Callable[..., Iterable[Any]]:
    """The function, refused where env.py migrates several databases or schemas."""
    called: list[MigrationContext] = []

    def once(heads: Any, context: MigrationContext) -> Iterable[Any]:
        called.append(context)
        if len(called) > 1:
            raise LockstepError(
                "env.py migrates several databases or schemas; this command is for one: let it migrate one "
                "of them where `lockstep -x …` says so"
            )
        return function(heads, context)

    return once
