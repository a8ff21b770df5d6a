"""What a revision does, as far as it was watched: an operation, or a statement of SQL of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from alembic.operations import ops


class TableName(NamedTuple):
    """A table, by the names that it has in the target now."""

    schema: str
    name: str

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class PlannedOperation:
    """One operation of a revision as plain Alembic runs it, or SQL of the revision's own."""

    revision: str
    direction: str
    """``upgrade`` or ``downgrade``."""
    operation: ops.MigrateOperation | None
    """None for SQL of the revision's own, and for what a batch has collected."""
    sql: tuple[str, ...]
    """What plain Alembic sends for it, with its values written in."""
    table: TableName | None
    """The table that it changes, by its name in the target; None where that has no such table."""
    search_path: str = ""
    """As it is set while the statements run."""
