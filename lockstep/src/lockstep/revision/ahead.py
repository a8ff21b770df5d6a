"""A database that is ahead of the files: it was migrated by a newer program, which was rolled back since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.script.revision import RevisionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alembic.script import ScriptDirectory

    from lockstep.revision.history import Kept


def ahead_of(script: ScriptDirectory, heads: Iterable[str], kept: Mapping[str, Kept]) -> list[Kept]:
    """The applied revisions whose files are not here, the newest first, as far as they are known."""
    found: dict[str, Kept] = {}
    todo = list(heads)
    while todo:
        name = todo.pop(0)
        if name in kept and name not in found and not _has(script, name):
            found[name] = kept[name]
            todo += kept[name].after
    return list(found.values())


def _has(script: ScriptDirectory, name: str) -> bool:
    try:
        return script.revision_map.get_revision(name) is not None
    except RevisionError:
        return False


def told(newer: list[Kept]) -> str:
    """That the database is ahead, by what, and what to do."""
    names = ", ".join(f"{one.revision}{f' ({one.message})' if one.message else ''}" for one in newer)
    number = {1: "one revision", 2: "two revisions", 3: "three revisions"}.get(
        len(newer), f"{len(newer)} revisions"
    )
    return (
        f"this database is {number} ahead of the files here: {names}. `lockstep go --to head` takes it down "
        "to what these files know; or run the program that has them"
    )
