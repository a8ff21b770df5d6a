"""What a revision does, as far as it was watched: an operation, or a statement of SQL of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from alembic.operations import ops

#: The lock modes in the order of their strength, as the PostgreSQL manual writes them.
MODES = (
    "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE", "ACCESS EXCLUSIVE",
)  # fmt: skip


class TableName(NamedTuple):
    """A table, by the names that it has in the target now."""

    schema: str
    name: str

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Lock:
    """A lock that a statement has taken, on a relation that was there before the plan's first revision."""

    table: TableName
    """The relation; of an index, its table."""
    mode: str
    """One of ``MODES``."""
    index: str | None = None
    """The index that it is on."""

    @property
    def blocks_writes(self) -> bool:
        return MODES.index(self.mode) >= MODES.index("SHARE")

    @property
    def blocks_reads(self) -> bool:
        return self.mode == "ACCESS EXCLUSIVE"


@dataclass(frozen=True)
class Change:
    """Something that the running program knows and that is other afterwards."""

    table: TableName
    says: str
    breaks: bool = False
    """Whether a program that uses it fails from then on."""
    loses: bool = False
    """Whether rows or values are gone."""


@dataclass(frozen=True)
class Effect:
    """One statement and what it was seen to do."""

    sql: str
    """As PostgreSQL reads it, its values written in."""
    locks: tuple[Lock, ...] = ()
    """Those that it took, and its transaction did not hold before."""
    rewrites: tuple[TableName, ...] = ()
    scans: tuple[TableName, ...] = ()
    """Tables that it reads from one end to the other."""
    changes: tuple[Change, ...] = ()
    transaction: int = 0
    """The number of the transaction that it ran in."""
    writes_rows: bool = False
    """Whether it updates or deletes rows, which stay locked until its transaction ends."""
    step: str = ""
    """The step of Lockstep's that it belongs to; empty in the transaction of the revision."""


@dataclass(frozen=True)
class PlannedOperation:
    """One operation of a revision as plain Alembic runs it, or SQL of the revision's own."""

    revision: str
    direction: str
    """``upgrade`` or ``downgrade``."""
    operation: ops.MigrateOperation | None
    """None for SQL of the revision's own (``op.execute`` too), and for what a batch has collected."""
    sql: tuple[str, ...]
    """What plain Alembic sends for it, with its values written in."""
    table: TableName | None
    """The table that it changes, by its name in the target; None where that has no such table."""
    search_path: str = ""
    """As it is set while the statements run."""
    effects: tuple[Effect, ...] = ()
    """What each of its statements does."""
