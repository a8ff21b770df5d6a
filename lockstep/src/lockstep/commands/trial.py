"""Runs a project's revisions in a database of their own, to see what they leave behind."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from lockstep import private_names
from lockstep.commands.project import in_silence
from lockstep.errors import LockstepError
from lockstep.snapshot import scratch
from lockstep.snapshot.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script
    from sqlalchemy.engine import Connection

    from lockstep.commands.project import Project
    from lockstep.snapshot.text import Snapshot


class Trial:
    """A database in which a project's revisions run, by its own env.py. Use it as a context manager.

    It is created on the server that env.py connects to, or on that of the URL ``server``, and dropped at the
    end; what env.py connects to is only read. The role needs CREATEDB.
    """

    def __init__(self, project: Project, server: str | None, ignored: Sequence[str] = ()) -> None:
        self._project = project
        self._ignored = ignored
        self._database: str | None = None
        self._applied: frozenset[str] = frozenset()
        try:
            self._server = make_url(server) if server else None
        except ArgumentError:
            raise LockstepError("--server takes a URL, like postgresql://user@host/postgres") from None

        self.empty: Snapshot
        """What is in a database before the first revision."""

    def __enter__(self) -> Self:
        try:
            self._renew()
        except BaseException:
            with suppress(LockstepError):  # the one that is under way says more
                self._drop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def revisions(self) -> list[Script]:
        """All of the project's, each after those that it stands on."""
        return list(self._project.script.walk_revisions())[::-1]

    def after(self, revision: Script) -> Snapshot:
        """The catalog after this revision, and those that it stands on alone."""
        needed = self._closure(revision)
        if not self._applied <= needed:
            self._drop()
            self._renew()
        self.upgrade(revision.revision)
        self._applied = needed
        return self.read()

    def upgrade(self, target: str) -> None:
        """Upgrade; LockstepError where a revision fails."""
        self._migrate(private_names.upgrade_steps, target, "upgrading")

    def downgrade(self, target: str) -> None:
        """Downgrade; LockstepError where a revision fails."""
        self._migrate(private_names.downgrade_steps, target, "downgrading")

    def read(self) -> Snapshot:
        """The catalog as it is."""
        found: list[Snapshot] = []

        def look(_heads: Any, context: MigrationContext) -> list[Any]:
            found.append(
                read(_of(context), context.version_table, context.version_table_schema, self._ignored)
            )
            return []

        self._run(look, dont_mutate=True)
        return found[-1]

    def _closure(self, revision: Script) -> frozenset[str]:
        script = self._project.script
        found: set[str] = set()
        todo = [revision]
        while todo:
            one = todo.pop()
            if one.revision not in found:
                found.add(one.revision)
                before = (*_many(one.down_revision), *_many(one.dependencies))
                todo += [r for name in before for r in script.get_revisions(name)]
        return frozenset(found)

    def _migrate(self, steps: Callable[..., Iterable[Any]], target: str, doing: str) -> None:
        reached: list[str] = []

        def planned(heads: Any, _context: MigrationContext) -> Iterator[Any]:
            for step in steps(self._project.script, target, heads):
                reached.append(step.revision.revision)
                yield step

        try:
            self._run(planned, destination_rev=target, starting_rev=None, as_sql=False)
        except LockstepError as error:
            at = f" at revision {reached[-1]}" if reached else ""
            raise LockstepError(f"{doing} an empty database fails{at}: {error}") from error

    def _run(self, function: Callable[..., Iterable[Any]], **options: Any) -> None:
        with scratch.led_to(self._database, self._server), in_silence():
            self._project.run(_once(function), **options)

    def _on_the_server(self, work: Callable[[Connection], Any]) -> list[Any]:
        found: list[Any] = []

        def do(_heads: Any, context: MigrationContext) -> list[Any]:
            found.append(work(_of(context)))
            return []

        with scratch.led_to(None, self._server), in_silence():
            self._project.run(_once(do), dont_mutate=True)
        if not found:
            raise LockstepError(f"{self._project.env} does not call context.run_migrations()")
        return found

    def _renew(self) -> None:
        self._database = name = scratch.name()
        self._on_the_server(lambda connection: scratch.create(connection, name))
        self._applied = frozenset()
        self.empty = self.read()

    def _drop(self) -> None:
        name = self._database
        if name is not None:
            self._on_the_server(lambda connection: scratch.drop(connection, name))
        self._database = None


def _many(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _of(context: MigrationContext) -> Connection:
    if context.connection is None:
        raise LockstepError("env.py gives no connection to context.configure()")
    return context.connection


def _once(function: Callable[..., Iterable[Any]]) -> Callable[..., Iterable[Any]]:
    """The function, refused where env.py migrates several databases or schemas."""
    called: list[MigrationContext] = []

    def once(heads: Any, context: MigrationContext) -> Iterable[Any]:
        called.append(context)
        if len(called) > 1:
            raise LockstepError(
                "env.py migrates several databases or schemas; a snapshot is of one: let it migrate one of "
                "them where `-x` says so, or without `-x`"
            )
        return function(heads, context)

    return once
