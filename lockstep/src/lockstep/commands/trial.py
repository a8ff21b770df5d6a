"""Runs a project's revisions in a database of their own, to see what they leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationStep

from lockstep import private_names
from lockstep.commands.revisions import parents
from lockstep.commands.scratch_database import ScratchDatabase, connection_of
from lockstep.errors import LockstepError
from lockstep.snapshot.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script

    from lockstep.commands.project import Project
    from lockstep.snapshot.text import Snapshot


class Trial(ScratchDatabase):
    """A database in which a project's revisions run, by its own env.py. Use it as a context manager."""

    def __init__(self, project: Project, server: str | None, ignored: Sequence[str] = ()) -> None:
        super().__init__(project, server)
        self._ignored = ignored
        self._applied: frozenset[str] = frozenset()
        self._now: Snapshot
        self.before: Snapshot
        """The catalog before the revision that ``after`` was last asked for."""

    def revisions(self) -> list[Script]:
        """All of the project's, each after those that it stands on."""
        self.project.load()
        return list(self.project.script.walk_revisions())[::-1]

    def after(self, revision: Script) -> Snapshot:
        """The catalog after this revision, and those that it stands on alone."""
        needed = self._closure(revision)
        if not self._applied <= needed:
            self.forget()
        if self._applied != needed - {revision.revision}:
            for name in parents(self.project.script, revision):
                self._upgrade(name)
            self._now = self.read()
        self.before = self._now
        self._upgrade(revision.revision)
        self._applied, self._now = needed, self.read()
        return self._now

    def take_back(self, revision: Script) -> None:
        """Downgrade the revision that ``after`` was last asked for; LockstepError where it fails."""

        def step(_heads: Any) -> Iterable[Any]:
            return [MigrationStep.downgrade_from_script(self.project.script.revision_map, revision)]

        self._migrate(step, revision.revision, "downgrading")

    def upgrade_again(self, revision: Script) -> None:
        """Upgrade what was taken back; LockstepError where it fails."""
        self._upgrade(revision.revision)

    def forget(self) -> None:
        """Begin anew, with an empty database."""
        self._drop()
        self._renew()

    def _upgrade(self, target: str) -> None:
        def steps(heads: Any) -> Iterable[Any]:
            found: Iterable[Any] = private_names.upgrade_steps(self.project.script, target, heads)
            return found

        self._migrate(steps, target, "upgrading")

    def read(self) -> Snapshot:
        """The catalog as it is."""
        found: list[Snapshot] = []

        def look(_heads: Any, context: MigrationContext) -> list[Any]:
            found.append(
                read(
                    connection_of(context), context.version_table, context.version_table_schema, self._ignored
                )
            )
            return []

        self.run(look, dont_mutate=True)
        return found[-1]

    def _closure(self, revision: Script) -> frozenset[str]:
        script = self.project.script
        found: set[str] = set()
        todo = [revision.revision]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += parents(script, script.get_revision(name))
        return frozenset(found)

    def _migrate(self, steps: Callable[[Any], Iterable[Any]], target: str, doing: str) -> None:
        reached: list[str] = []

        def planned(heads: Any, _context: MigrationContext) -> Iterator[Any]:
            for step in steps(heads):
                reached.append(step.revision.revision)
                yield step

        try:
            self.run(planned, destination_rev=target, starting_rev=None, as_sql=False)
        except LockstepError as error:
            at = f" at revision {reached[-1]}" if reached else ""
            raise LockstepError(f"{doing} an empty database fails{at}: {error}") from error

    def _renew(self) -> None:
        super()._renew()
        self._applied = frozenset()
        self._now = self.read()
