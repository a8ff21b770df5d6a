"""What a pipeline asks of a project's revisions: ``lockstep check``, and the plugin of pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.commands.sides import shown
from lockstep.errors import LockstepError
from lockstep.snapshot.differences import differences

if TYPE_CHECKING:
    from pathlib import Path

    from lockstep.commands.project import Project
    from lockstep.commands.sides import Files
    from lockstep.commands.trial import Trial


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


def stale(trial: Trial, files: Files) -> list[Stale]:
    """The files that are not as the revisions are, each of which is run for it."""
    found = []
    revisions = trial.revisions()
    for revision in revisions:
        text = trial.after(revision).to_text(revision.revision)
        path = files.path(revision.revision)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(Stale(path, text))
    left = sorted({*files.revisions()} - {revision.revision for revision in revisions})
    return found + [Stale(files.path(revision), None) for revision in left]


def there_and_back(trial: Trial) -> list[str]:
    """What is other after up, down and up again than it was."""
    trial.upgrade("heads")
    up = trial.read()
    left: list[str] = []
    try:
        trial.downgrade("base")
        left = [f"after the downgrade to base: {each}" for each in differences(trial.read(), trial.empty)]
        trial.upgrade("heads")
    except LockstepError as error:
        return [*left, f"on the way down and up again: {error}"]
    return [*left, *(f"after up, down and up again: {each}" for each in differences(trial.read(), up))]
