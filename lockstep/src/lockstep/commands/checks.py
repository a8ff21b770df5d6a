"""What a pipeline asks of a project's revisions: ``lockstep check``, and the plugin of pytest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockstep.commands.sides import listed, shown
from lockstep.errors import LockstepError
from lockstep.snapshot.differences import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from alembic.script import Script

    from lockstep.commands.project import Project
    from lockstep.commands.sides import Files
    from lockstep.commands.trial import Trial
    from lockstep.snapshot.text import Snapshot


def heads(project: Project) -> list[str]:
    """More than one head, in a line."""
    project.load()
    found = project.script.get_heads()
    if len(found) < 2:
        return []
    return [f"{len(found)} heads ({', '.join(found)}): `lockstep rebase`, or `alembic merge heads`"]


@dataclass(frozen=True)
class Stale:
    """A snapshot's file that is not as its revision is."""

    path: Path
    text: str | None
    """What would be right; None where there is no such revision."""

    def __str__(self) -> str:
        if self.text is None:
            return f"{shown(self.path)} is of no revision"
        return f"{shown(self.path)} is {'stale' if self.path.exists() else 'missing'}"


def stale(trial: Trial, files: Files, each: Callable[[Script, Snapshot], None] | None = None) -> list[Stale]:
    """The files that are not as the revisions are, each of which is run for it; and ``each`` is called with
    the schema after it.
    """
    found = []
    revisions = trial.revisions()
    for revision in revisions:
        after = trial.after(revision)
        text = after.to_text(revision.revision)
        path = files.path(revision.revision)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(Stale(path, text))
        if each is not None:
            each(revision, after)
    left = sorted({*files.revisions()} - {revision.revision for revision in revisions})
    return found + [Stale(files.path(revision), None) for revision in left]


@dataclass
class ThereAndBack:
    """Takes each revision down and up again, and tells what is other then than it was."""

    trial: Trial
    irreversible: Collection[str] = ()
    """The revisions whose downgrade is not tried."""
    wrong: list[str] = field(default_factory=list)

    def __call__(self, revision: Script, after: Snapshot) -> None:
        """Look at a revision that ``Trial.after`` has just reached."""
        name = revision.revision
        if name in self.irreversible:
            return
        self.wrong += self._told(revision, after)

    def _told(self, revision: Script, after: Snapshot) -> list[str]:
        name, trial = revision.revision, self.trial
        allowed = f"where that is meant, `--irreversible {name}` or lockstep_irreversible allows it"
        try:
            trial.take_back(revision)
            back = trial.read()
            other = differences(back, trial.before)
            if other and not differences(back, after):
                trial.forget()
                return [f"revision {name} is irreversible: its downgrade leaves all as it is; {allowed}"]
            left = [f"revision {name}, after its downgrade: {each}" for each in other]
        except LockstepError as error:
            trial.forget()
            if _is_not_implemented(error):
                return [
                    f"revision {name} is irreversible: its downgrade raises NotImplementedError; {allowed}"
                ]
            return [f"revision {name}: {error}"]
        try:
            trial.upgrade_again(revision)
            again = differences(trial.read(), after)
        except LockstepError as error:
            trial.forget()
            return [*left, f"revision {name}, after its downgrade: {error}"]
        if again:
            trial.forget()
        return [*left, *(f"revision {name}, after down and up again: {each}" for each in again)]


def _is_not_implemented(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, NotImplementedError):
            return True
        error = error.__cause__ or error.__context__
    return False


def all_irreversible(project: Project, asked: list[str] | None) -> list[str]:
    """The revisions whose downgrade is not tried: as asked for, and as configured."""
    names = [*(asked or []), *listed(project, "lockstep_irreversible")]
    project.load()
    unknown = sorted({*names} - {one.revision for one in project.script.walk_revisions()})
    if unknown:
        raise LockstepError(f"{unknown[0]}, which is allowed to be irreversible, is no revision")
    return names
