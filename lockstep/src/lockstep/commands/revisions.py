"""Which revisions a database has had, and which it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.util import to_tuple

from lockstep.commands.project import ledger_of
from lockstep.commands.status import Status, status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script, ScriptDirectory

    from lockstep.commands.project import Project


def oldest_first(script: ScriptDirectory) -> list[Script]:
    """All of the project's revisions, each after those that it stands on."""
    return list(script.walk_revisions())[::-1]


def had(script: ScriptDirectory, heads: Iterable[str]) -> set[str]:
    """The revisions of the files that a database at these heads has had."""
    files = {one.revision: one for one in script.walk_revisions()}
    found: set[str] = set()
    todo = [name for name in heads if name in files]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += parents(script, files[name])
    return found


def parents(script: ScriptDirectory, one: Script) -> list[str]:
    """The revisions that one stands on: the one before it, and those that it depends on."""
    before = (*to_tuple(one.down_revision, ()), *to_tuple(one.dependencies, ()))
    return [each.revision for name in before for each in script.get_revisions(name)]


def pending(script: ScriptDirectory, heads: Sequence[str]) -> list[Script]:
    """The revisions between these heads and those of the files, in the order in which they run; none where no
    file here is of one of the heads: nobody knows.
    """
    if unknown(script, heads):
        return []
    done = had(script, heads)
    return [one for one in oldest_first(script) if one.revision not in done]


def unknown(script: ScriptDirectory, heads: Sequence[str]) -> list[str]:
    """Of these heads those of which no file here is."""
    files = {one.revision for one in script.walk_revisions()}
    return [head for head in heads if head not in files]


def gone(revision: str) -> str:
    """What to say of a revision that a database is at and no file here is of."""
    return f"no file here is of revision {revision}: `lockstep doctor` finds out what became of it"


def status_of(project: Project, context: MigrationContext, heads: tuple[str, ...]) -> Status:
    """The status of a database, whether or not env.py calls lockstep.run()."""
    connection, ledger = context.connection, ledger_of(context)
    assert connection is not None  # noqa: S101  # for mypy: it was looked at
    names = tuple(one.revision for one in pending(project.script, heads))
    strange = tuple(unknown(project.script, heads))
    if ledger is not None:
        found = status(connection, ledger.version_table, heads)
        return Status(found.database, found.version_table, heads, found.underway, found.kept, names, strange)
    database = str(connection.execute(sa.text("SELECT current_database()")).scalar())
    table = f"{context.version_table_schema or ''}.{context.version_table}".lstrip(".")
    return Status(database, table, heads, [], [], names, strange)
