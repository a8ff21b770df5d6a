"""Runs a project's revisions in a database of their own, to see what they leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.util import to_tuple

from lockstep import private_names
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

        self.empty: Snapshot
        """What is in a database before the first revision."""

    def revisions(self) -> list[Script]:
        """All of the project's, each after those that it stands on."""
        self.project.load()
        return list(self.project.script.walk_revisions())[::-1]

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
        todo = [revision]
        while todo:
            one = todo.pop()
            if one.revision not in found:
                found.add(one.revision)
                before = (*to_tuple(one.down_revision, default=()), *to_tuple(one.dependencies, default=()))
                todo += [r for name in before for r in script.get_revisions(name)]
        return frozenset(found)

    def _migrate(self, steps: Callable[..., Iterable[Any]], target: str, doing: str) -> None:
        reached: list[str] = []

        def planned(heads: Any, _context: MigrationContext) -> Iterator[Any]:
            for step in steps(self.project.script, target, heads):
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
        self.empty = self.read()
