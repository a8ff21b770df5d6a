"""Running the revisions that are to come in a scratch database, watched: plain, and by Lockstep's rules."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.util import load_python_file

from lockstep import private_names, scopes
from lockstep.commands.scratch_database import ScratchDatabase, connection_of, over_psycopg
from lockstep.errors import LockstepError
from lockstep.operations import OPTION
from lockstep.plan.watch import Watch
from lockstep.postgres.sizes import assumed
from lockstep.snapshot import scratch
from lockstep.steps.events import received_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection, Engine

    from lockstep.commands.project import Project
    from lockstep.plan.operation import PlannedOperation
    from lockstep.plan.target import Target

#: An env.py that has adopted Lockstep, in place of one that has not.
_ENV = """
import lockstep
from alembic import context

lockstep.run(**context.config.attributes["lockstep_rehearsal"])
"""

#: What of an env.py's own context.configure() is kept.
_KEPT = ("target_metadata", "version_table", "version_table_schema", "render_as_batch")


@contextmanager
def _others(connection: Connection) -> Iterator[None]:
    """With another client connected, as the target has them: Lockstep does not hold locks in its way."""
    other = connection.engine.raw_connection()
    driver: Any = other.dbapi_connection
    driver.autocommit = True
    other.detach()
    try:
        yield
    finally:
        driver.close()


class Rehearsal(ScratchDatabase):
    """A scratch database at the target's revisions, from where those that are to come are run."""

    def __init__(self, project: Project, server: str | None, target: Target) -> None:
        super().__init__(project, server)
        self.target = target
        """What is migrated, and how large its tables are."""
        self.adopted = False
        """Whether env.py lets Lockstep run its revisions."""
        self._engine: Engine
        self._configured: dict[str, Any] = {}
        self._arguments: dict[str, Any] = {}

    def prepare(self) -> None:
        """Bring it to where the target is."""
        for head in self.target.heads:
            with scopes.plain():
                self._migrate(private_names.upgrade_steps, head, lambda _: None)

        def look(_heads: Any, context: MigrationContext) -> list[Any]:
            self.adopted = context.opts.get(OPTION) is not None
            self._engine = connection_of(context).engine
            self._configured = {name: context.opts[name] for name in _KEPT if context.opts.get(name)}
            return []

        self.run(look, dont_mutate=True)

    def plain(self, direction: str, revision: str) -> list[PlannedOperation]:
        """What plain Alembic does."""
        with self._copied(), scopes.plain():
            return self._watched(direction, revision, steps=False)

    def with_lockstep(self, direction: str, revision: str) -> list[PlannedOperation]:
        """What Lockstep does, on tables that are as large as the target's."""
        with self._copied(), ExitStack() as stack:
            if not self.adopted:
                stack.enter_context(self._as_if_adopted())
            return self._watched(direction, revision, steps=True)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to the database itself, over psycopg, in autocommit mode."""
        found: list[Connection] = []

        def connect(_heads: Any, context: MigrationContext) -> list[Any]:
            engine = sa.create_engine(over_psycopg(connection_of(context).engine.url), poolclass=sa.NullPool)
            found.append(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
            return []

        self.run(connect, dont_mutate=True)
        with found[0] as connection:
            yield connection

    @contextmanager
    def _copied(self) -> Iterator[None]:
        """In a copy of the database, which stays as it is."""
        before, name = self._database, scratch.name()
        self._on_the_server(lambda connection: scratch.create(connection, name, str(before)))
        self._database = name
        try:
            yield
        finally:
            self._drop()
            self._database = before

    def _watched(self, direction: str, revision: str, *, steps: bool) -> list[PlannedOperation]:
        watching: list[Watch] = []
        with ExitStack() as stack:

            def begin(context: MigrationContext) -> Watch:
                watch = Watch(
                    connection_of(context), context.version_table, context.version_table_schema, steps=steps
                )
                watching.append(watch)
                if steps:
                    stack.enter_context(_others(connection_of(context)))
                    sizes = self.target.tables
                    stack.enter_context(received_by(watch.hear))
                    stack.enter_context(
                        assumed({oid: sizes[n].heap for oid, n in watch.tables().items() if n in sizes})
                    )
                return watch

            found = private_names.upgrade_steps if direction == "upgrade" else private_names.downgrade_steps
            self._migrate(found, revision, begin)
        return watching[0].operations if watching else []

    def _migrate(
        self,
        find: Callable[..., Iterable[Any]],
        revision: str,
        begin: Callable[[MigrationContext], Watch | None],
    ) -> None:
        reached: list[str] = []

        def planned(heads: Any, context: MigrationContext) -> Iterator[Any]:
            watch = begin(context)
            for step in find(self.project.script, revision, heads):
                reached.append(step.revision.revision)
                if watch is not None:
                    step.migration_fn = self._in_sight(watch, step, step.migration_fn)
                yield step

        try:
            self.run(planned, destination_rev=revision, starting_rev=None, as_sql=False)
        except LockstepError as error:
            at = f"revision {reached[-1]} fails on a database without rows: " if reached else ""
            raise LockstepError(f"{at}{error}") from error

    def _in_sight(self, watch: Watch, step: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        direction = "upgrade" if step.is_upgrade else "downgrade"

        @wraps(function)
        def run(**arguments: Any) -> Any:
            self._arguments = arguments
            with watch.revision(str(step.revision.revision), direction):
                return function(**arguments)

        return run

    @contextmanager
    def _as_if_adopted(self) -> Iterator[None]:
        """With an env.py that has adopted Lockstep, on the engine of the one that has not."""
        project = self.project
        config = project.config
        self._engine.dispose(close=False)  # what its pool holds is another database's
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "env.py").write_text(_ENV, encoding="utf-8")
            config.attributes["lockstep_rehearsal"] = {
                "connection": self._engine, "arguments": self._arguments, **self._configured
            }  # fmt: skip
            project.run_env = lambda: load_python_file(folder, "env.py")
            try:
                yield
            finally:
                project.run_env = project.script.run_env
                del config.attributes["lockstep_rehearsal"]
