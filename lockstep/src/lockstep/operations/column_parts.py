"""How indexes, checks and statistics of a table read, before and after a change of type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.postgres import catalog

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclass(frozen=True)
class Parts:
    """Definitions by name. A copy's indexes and statistics have names of their own; the rest counts."""

    indexes: dict[str, str]
    """From USING on."""
    checks: dict[str, str]
    statistics: dict[str, str]
    """What they are on."""

    def changed_indexes(self, after: Parts) -> dict[str, str]:
        """New definitions by old ones, where they differ."""
        return {self.indexes[n]: new for n, new in after.indexes.items() if self.indexes[n] != new}

    def changed_statistics(self, after: Parts) -> dict[str, str]:
        """As ``changed_indexes``."""
        return {self.statistics[n]: new for n, new in after.statistics.items() if self.statistics[n] != new}


def parts_of(connection: Connection, oid: int) -> Parts:
    indexes = catalog.rows(
        connection,
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = %(oid)s",
        oid=oid,
    )
    checks = catalog.rows(
        connection,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = %(oid)s AND contype = 'c' ORDER BY conname",
        oid=oid,
    )
    statistics = catalog.rows(
        connection,
        "SELECT stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = %(oid)s",
        oid=oid,
    )
    return Parts(
        {row[0]: row[1][row[1].index(" USING ") :] for row in indexes},
        {row[0]: row[1] for row in checks},
        {row[0]: statistics_parts(row[1])[1] for row in statistics},
    )


def statistics_parts(definition: str) -> tuple[str, str]:
    """CREATE STATISTICS with its kinds, and what it is on."""
    head, _, rest = definition.partition(" ON ")
    return f"{head} ON ", rest.rpartition(" FROM ")[0]
