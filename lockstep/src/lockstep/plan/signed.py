"""A plan that was kept in a file, and is demanded when it is carried out: what runs is what was looked at.

What runs is decided by the revisions' files, by what they import and read, by the packages that run them, and
by the tables that they are about: how each is made, and whether it is small. All of that is in the plan.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import RevisionStep

from lockstep.errors import LockstepError
from lockstep.plan import sources
from lockstep.plan import target as targets
from lockstep.postgres.catalog import scalar
from lockstep.snapshot.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.plan.plan import Plan

    Steps = Callable[[Any, Any], Iterable[Any]]

_KEYS = ("direction", "from", "revisions", "files", "packages", "tables")


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
            if other := _other(kept, heads, found) or _other_around(kept, context):
                raise LockstepError(
                    f"this is not the plan in {path}: {other}. Nothing was done; "
                    f"`lockstep plan --keep {path}` plans anew"
                )
        return found

    return checked


def _read(path: str) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: kept[name] for name in _KEYS}
    except OSError as error:
        raise LockstepError(f"the plan {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise LockstepError(f"{path} is no plan that `lockstep plan --keep` of this version wrote") from None


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
        if sources.file_hash(step.revision.path) != one["file_sha256"]:
            return f"the file of revision {one['revision']} was changed"
    return ""


def _other_around(kept: dict[str, Any], context: MigrationContext) -> str:
    """What is other in what the revisions import and read, in what runs them, and in the tables."""
    for name, planned in kept["packages"].items():
        try:
            now = version(name)
        except PackageNotFoundError:
            now = "not installed"
        if now != planned:
            return f"it was made with {name} {planned}, and this is {now}"
    folder = context.script.dir if context.script else "."
    for name, planned in kept["files"].items():
        file = Path(folder, name)
        if not file.is_file():
            return f"{name}, which is part of what runs, is not here"
        if sources.file_hash(file) != planned:
            return f"{name}, which is part of what runs, was changed"
    connection = context.connection
    if connection is None or _is_half_done(connection):
        return ""
    made = shapes(connection, context.version_table, context.version_table_schema)
    sizes = {str(name): size for name, size in targets.sizes(connection).items()}
    for one in kept["tables"]:
        name = one["table"]
        if made.get(name) != one["schema_sha256"]:
            return f"{name} was changed in the database since"
        size = sizes.get(name)
        if size is not None and targets.SIZES.index(size.named) > targets.SIZES.index(one["size"]):
            return f"{name} was {one['size']}, and is {size.named} now"
    return ""


def _is_half_done(connection: Connection) -> bool:
    """Whether it goes on with a plan: tables are what it has made of them so far."""
    if not scalar(connection, "SELECT to_regclass('lockstep.revision') IS NOT NULL"):
        return False
    return bool(scalar(connection, "SELECT EXISTS (SELECT FROM lockstep.revision)"))


def shapes(connection: Connection, version_table: str, schema: str | None) -> dict[str, str]:
    """How each table is made: a hash of what the catalog has of it, by the names that plans use."""
    found = {}
    for name, parts in read(connection, version_table, schema).objects.items():
        table = name.removeprefix("table ").removeprefix("materialized view ")
        if table != name:
            said = json.dumps(parts, sort_keys=True)
            bare = '"'.join(part.replace('"', "") for part in table.split('""'))
            found[bare.removeprefix("public.")] = hashlib.sha256(said.encode()).hexdigest()
    return found


def _named(revisions: list[str]) -> str:
    return ", ".join(revisions) or "nothing"
