"""A plan that was kept in a file, and is demanded when it is carried out: what runs is what was looked at."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import RevisionStep

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lockstep.plan.plan import Plan

    Steps = Callable[[Any, Any], Iterable[Any]]


def keep(plan: Plan, path: str) -> None:
    """Write the plan to a file; LockstepError where that can't be written."""
    try:
        Path(path).write_text(json.dumps(plan.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise LockstepError(f"--keep: cannot write {path}: {error.strerror}") from None


def demanded(steps: Steps, path: str | None) -> Steps:
    """What a command came to do, refused where it is not what the plan in the file says."""
    if path is None:
        return steps
    kept = _read(path)
    looked = False

    def checked(heads: Any, context: Any) -> Iterable[Any]:
        nonlocal looked
        found = list(steps(heads, context))
        if not looked:
            looked = True
            if other := _other(kept, heads, found):
                raise LockstepError(
                    f"this is not the plan in {path}: {other}. Nothing was done; "
                    f"`lockstep plan --keep {path}` plans anew"
                )
        return found

    return checked


def _read(path: str) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: kept[name] for name in ("direction", "from", "revisions")}
    except OSError as error:
        raise LockstepError(f"the plan {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise LockstepError(f"{path} is no plan that `lockstep plan --keep` wrote") from None


def _other(kept: dict[str, Any], heads: Any, steps: list[Any]) -> str:
    """What is other than in the plan; empty where nothing is."""
    now = sorted((heads,) if isinstance(heads, str) else heads or ())
    if now != sorted(kept["from"]):
        return f"it starts at {', '.join(kept['from']) or 'base'}, and the database is at {_named(now)}"
    planned = [one["revision"] for one in kept["revisions"]]
    revisions = [step for step in steps if isinstance(step, RevisionStep)]
    names = [str(step.revision.revision) for step in revisions]
    directions = {"upgrade" if step.is_upgrade else "downgrade" for step in revisions}
    if names != planned or directions - {kept["direction"]} or len(revisions) != len(steps):
        return f"it is the {kept['direction']} of {_named(planned)}, and this one of {_named(names)}"
    for one, step in zip(kept["revisions"], revisions, strict=True):
        if file_hash(step.revision.path) != one["file_sha256"]:
            return f"the file of revision {one['revision']} was changed"
    return ""


def _named(revisions: list[str]) -> str:
    return ", ".join(revisions) or "nothing"


def file_hash(path: str) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
