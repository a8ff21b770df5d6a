"""A database at a moment, as data for a program that shows it: what the commands print, one by one.

Unlike the commands, nothing here runs env.py, which changes what a whole process has in common: the program
gives its connection. In a transaction of its own that can't write, it is only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from alembic.autogenerate import produce_migrations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from lockstep.commands import under_way
from lockstep.commands.history import applied_to
from lockstep.commands.model_differences import told
from lockstep.commands.revisions import had, oldest_first, parents, pending
from lockstep.commands.sides import Files, without
from lockstep.commands.status import archived
from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.revision.ledger import Ledger
from lockstep.snapshot import read as catalogs
from lockstep.snapshot import tables as described
from lockstep.snapshot.differences import differences
from lockstep.snapshot.text import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alembic.script import ScriptDirectory
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from lockstep.commands.under_way import UnderWay
    from lockstep.revision.ledger import Underway
    from lockstep.snapshot.differences import Difference
    from lockstep.snapshot.tables import Table

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Revision:
    """A place on the timeline."""

    revision: str
    message: str
    after: list[str]
    """The revisions that it stands on."""
    state: str
    """applied, current, pending, or unknown: applied, and no file here."""
    applied: dict[str, Any] | None
    """As ``lockstep history`` tells it: when and by whom it was applied last; None where nobody knows."""
    changes: list[Difference] | None
    """From the snapshot before it (``found``) to its own (``expected``); None without such files."""


@dataclass(frozen=True)
class Overview:
    """What ``status``, ``show``, ``history``, ``verify``, ``watch`` and ``archive`` tell. A part is None
    where it could not be read; ``unread`` says why.
    """

    database: str
    version_table: str
    heads: tuple[str, ...]
    pending: tuple[str, ...]
    half_done: list[Underway] | None
    tables: list[Table] | None
    timeline: list[Revision]
    drift: list[Difference] | None
    models: list[str] | None
    under_way: UnderWay | None
    archive: list[dict[str, Any]] | None
    unread: list[str]


def overview(
    connection: Connection,
    script: ScriptDirectory,
    *,
    metadata: MetaData | None = None,
    ignored: Sequence[str] = (),
    **options: Any,
) -> Overview:
    """Look at the database, in the connection's transaction. ``options`` are those of
    ``context.configure()``: ``version_table``, ``compare_type`` …; ``ignored`` as of ``lockstep verify``.
    """
    context, ledger, heads = _located(connection, options | {"target_metadata": metadata})
    unread: list[str] = []

    def part(work: Callable[[], _Read]) -> _Read | None:
        try:
            with connection.begin_nested():
                return work()
        except LockstepError as error:
            unread.append(str(error))
        except DBAPIError as error:  # it is locked, or is not this role's to read
            unread.append(str(error.orig).strip().partition("\n")[0])
        return None

    files = Files(script)

    def drift() -> list[Difference]:
        if len(heads) != 1:
            raise LockstepError(f"the database is at {len(heads)} revisions, and a snapshot is of one")
        live = catalogs.read(connection, context.version_table, context.version_table_schema, ignored)
        return differences(live, without(files.read(heads[0]), ignored))

    return Overview(
        database=str(catalog.scalar(connection, "SELECT current_database()")),
        version_table=ledger.version_table,
        heads=heads,
        pending=tuple(one.revision for one in pending(script, heads)),
        half_done=part(lambda: ledger.read_all(connection)),
        tables=part(lambda: described.read(connection, context.version_table, context.version_table_schema)),
        timeline=_timeline(connection, script, files, ledger, heads),
        drift=part(drift),
        models=None if metadata is None else part(lambda: told(produce_migrations(context, metadata))),
        under_way=part(lambda: under_way.look(context, ledger)),
        archive=part(lambda: archived(connection, ledger.version_table)),
        unread=unread,
    )


def live(connection: Connection, **options: Any) -> UnderWay | None:
    """The part of it that changes from second to second: what is under way."""
    context, ledger, _ = _located(connection, options)
    return under_way.look(context, ledger)


def _located(
    connection: Connection, options: dict[str, Any]
) -> tuple[MigrationContext, Ledger, tuple[str, ...]]:
    context = MigrationContext.configure(connection, opts=options)
    ledger = Ledger("")
    ledger.locate(connection, context.version_table, context.version_table_schema)
    return context, ledger, context.get_current_heads()


def _timeline(
    connection: Connection, script: ScriptDirectory, files: Files, ledger: Ledger, heads: tuple[str, ...]
) -> list[Revision]:
    """The revisions, the oldest first; those without a file at the end."""
    last = {
        one["revision"]: one
        for one in applied_to(connection, script, ledger, heads)
        if one["direction"] != "downgrade"
    }
    done, known = had(script, heads), []
    for one in oldest_first(script):
        name, after = one.revision, parents(script, one)
        state = "current" if name in heads else "applied" if name in done else "pending"
        message = (one.doc or "").partition("\n")[0]
        applied = last.get(name) if name in done else None
        known.append(Revision(name, message, after, state, applied, _changes(files, after, name)))
    here = {one.revision for one in known}
    return known + [
        Revision(head, (last.get(head) or {"message": ""})["message"], [], "unknown", last.get(head), None)
        for head in heads
        if head not in here
    ]


def _changes(files: Files, after: list[str], revision: str) -> list[Difference] | None:
    try:
        before = files.read(after[0]) if after else Snapshot({})
        return differences(before, files.read(revision))
    except LockstepError:
        return None
