"""The schema at several heads: what their branches, each with a snapshot of its own, build together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.commands.revisions import had, parents
from lockstep.errors import LockstepError
from lockstep.snapshot.text import Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from alembic.script import ScriptDirectory

    from lockstep.commands.project import Project
    from lockstep.commands.sides import Files


def expected(project: Project, files: Files, heads: Sequence[str]) -> Snapshot:
    """The snapshot of a database at these heads. LockstepError where two branches change the same thing."""
    if len(heads) == 1:  # for which no revision's file need be read
        return files.read(heads[0])
    project.load()
    return _built(project.script, files, heads)


def _built(script: ScriptDirectory, files: Files, heads: Sequence[str]) -> Snapshot:
    found, done = files.read(heads[0]), had(script, heads[:1])
    for number, head in enumerate(heads[1:], 1):
        branch = had(script, [head])
        common = _heads_of(script, done & branch)
        before = _built(script, files, common) if common else Snapshot({})
        found = _merged(before, found, files.read(head), [", ".join(heads[:number]), head])
        done |= branch
    return found


def _heads_of(script: ScriptDirectory, revisions: Collection[str]) -> list[str]:
    """Of these revisions those that no other one of them stands on."""
    below = {name for one in revisions for name in parents(script, script.get_revision(one))}
    return sorted(set(revisions) - below)


def _merged(before: Snapshot, one: Snapshot, other: Snapshot, names: Sequence[str]) -> Snapshot:
    """What both branches have changed, as git merges files: an object, and each of its parts."""
    flat = [_flat(each) for each in (before, one, other)]
    objects: dict[str, dict[str, str]] = {}
    for key in sorted(set().union(*flat)):
        was, mine, theirs = (each.get(key) for each in flat)
        if mine != theirs and was not in {mine, theirs}:
            raise LockstepError(
                f"the database is at several revisions, of which {' and '.join(names)} both change "
                f"{': '.join(filter(None, key))}: `alembic merge heads`, then `alembic upgrade head`"
            )
        value = theirs if mine == was else mine
        name, part = key
        if value is not None and not part:
            objects[name] = {}
        elif value is not None and name in objects:
            objects[name][part] = value
    return Snapshot(objects)


def _flat(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    return {
        (name, part): value
        for name, parts in snapshot.objects.items()
        for part, value in {"": "", **parts}.items()
    }
