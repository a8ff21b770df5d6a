"""What a downgrade drops is kept, and given back when the same revision runs up again.

A table is moved away, stripped of everything that ties it to others; a column is copied beside its key in
batches, kept in step by a trigger until it goes. What is kept are plain tables in the schema
``lockstep_archive``: no keys to other tables, no types but PostgreSQL's own, no privileges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.revision.ledger import ARCHIVE_SCHEMA
from lockstep.scopes import is_derived

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.revision.migrator import Migrator


@dataclass(frozen=True)
class Kept:
    """One table or column that is kept."""

    id: int
    revision: str
    kind: str
    schema: str
    table: str
    column: str | None
    place: str
    details: dict[str, Any]
    state: str
    kept_at: str
    version_table: str

    @property
    def sql(self) -> str:
        return f"{quote(ARCHIVE_SCHEMA)}.{quote(self.place)}"

    def __str__(self) -> str:
        table = self.table if self.schema == "public" else f"{self.schema}.{self.table}"
        return f"{table}.{self.column}" if self.column else table


def listed(connection: Connection) -> list[Kept]:
    """Everything that is kept, the oldest first."""
    if not catalog.scalar(connection, "SELECT to_regclass('lockstep.archive')"):
        return []
    found = catalog.rows(
        connection,
        "SELECT id, revision, kind, schema_name, table_name, column_name, place, details::text, state, "
        "to_char(kept_at, 'YYYY-MM-DD HH24:MI:SSOF'), version_table FROM lockstep.archive ORDER BY id",
    )
    return [
        Kept(
            id=row[0], revision=row[1], kind=row[2], schema=row[3], table=row[4], column=row[5], place=row[6],
            details=json.loads(row[7]), state=row[8], kept_at=row[9], version_table=row[10],
        )
        for row in found
    ]  # fmt: skip


def worth_keeping(migrator: Migrator) -> bool:
    """Whether what is dropped now is kept: in a downgrade, but for derived data."""
    return migrator.direction == "downgrade" and not is_derived()


def find(migrator: Migrator, kind: str, schema: str, table: str, column: str | None) -> Kept | None:
    """What this revision's downgrade kept last under that name."""
    if migrator.direction != "upgrade":
        return None
    wanted = (migrator.ledger.version_table, migrator.revision, kind, schema, table, column, "kept")
    for kept in reversed(listed(migrator.connection)):
        named = (kept.version_table, kept.revision, kept.kind, kept.schema, kept.table, kept.column)
        if (*named, kept.state) == wanted:
            return kept
    return None
