"""How indexes, checks and statistics of a table read, before and after a change of type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.operations.demands import Demands
from lockstep.postgres import catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from lockstep.operations.replaced_keys import ForeignKey


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


def demands_of(
    connection: Connection,
    oid: int,
    real: Parts,
    before: Parts,
    after: Parts,
    *,
    not_null: bool,
    foreign_keys: Sequence[ForeignKey],
) -> Demands:
    """What the changed checks and indexes of a copy ask of rows, and what is known besides. ``real`` are the
    parts of the table itself, which has its indexes by their names.
    """
    names = {definition: name for name, definition in real.indexes.items()}
    checks = catalog.rows(
        connection,
        """
        SELECT conname, pg_get_expr(conbin, conrelid) FROM pg_constraint k
        WHERE conrelid = %(oid)s AND contype = 'c' AND convalidated
          AND coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true' ORDER BY conname
        """,
        oid=oid,
    )
    # Keys of BRIN, GIN and the like are computed as those of a btree are; only these can be unique.
    keys = catalog.rows(
        connection,
        """
        SELECT c.relname, i.indisunique, pg_get_expr(i.indpred, i.indrelid) AS predicate,
               coalesce(to_jsonb(i)->>'indnullsnotdistinct', 'false') = 'true' AS nulls_equal,
               ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false)
                     FROM generate_series(1, i.indnkeyatts) n ORDER BY n) AS keys,
               ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false)
                     FROM generate_series(1, i.indnkeyatts) n WHERE i.indkey[n - 1] = 0) AS computed
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %(oid)s ORDER BY c.relname
        """,
        oid=oid,
    )
    changed = [row for row in keys if before.indexes[row.relname] != after.indexes[row.relname]]
    return Demands(
        {row[0]: row[1] for row in checks if before.checks.get(row[0]) != after.checks[row[0]]},
        tuple(
            part for row in changed for part in (*row.computed, *([row.predicate] if row.predicate else []))
        ),
        {
            names.get(before.indexes[row.relname], row.relname): (
                tuple(row.keys),
                row.predicate or "",
                row.nulls_equal,
            )
            for row in changed
            if row.indisunique
        },
        not_null,
        tuple(key for key in foreign_keys if key.valid and key.enforced),
    )
