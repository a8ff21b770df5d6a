"""What stands in a pending statement's way in the database as it is: in plain words, with the rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Why a pending statement would fail, or why that is not known."""

    DUPLICATES = "duplicates"
    NULLS = "nulls"
    NO_DEFAULT = "not null without a default"
    ORPHANS = "orphans"
    CHECK = "check"
    CONVERSION = "conversion"
    EXCLUSION = "exclusion"
    EXISTS = "is there already"
    MISSING = "is not there"
    NEEDED = "is depended on"
    NOT_KNOWN = "not known before"
    """An earlier pending statement decides about it."""
    NOT_LOOKED_AT = "not looked at"
    """Too large, too slow, locked, or not this role's to read."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found by asking the database about one pending statement."""

    kind: Kind
    revision: str
    statement: str
    table: str
    says: str
    """A sentence."""
    count: int | None = None
    """How many rows are at fault; None where it is not about rows, or nobody knows."""
    at_least: bool = False
    """Whether there may be more of them: not all were counted."""
    rows: tuple[dict[str, Any], ...] = ()
    """Up to five of them: the primary key and the values that matter."""

    @property
    def fails(self) -> bool:
        """Whether the statement fails on the database as it is now."""
        return self.kind not in {Kind.NOT_KNOWN, Kind.NOT_LOOKED_AT}

    def __str__(self) -> str:
        return f"{self.revision}: {self.says}"
