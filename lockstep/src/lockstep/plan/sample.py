"""A sample of a table's rows: which pages it is read from, and how it comes into a scratch database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.session import execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table

#: In how many places of the table it is read, so that not its oldest rows alone make up the sample.
_PLACES = 20

#: How many rows one statement brings.
_BATCH = 5000


@dataclass(frozen=True)
class Sample:
    """Some of the pages of a table, evenly over all of it."""

    table: Table
    pages: int
    """How many the table has."""
    ranges: tuple[tuple[int, int], ...]
    """From a page to before another."""

    bytes: int
    """How large all of it is."""

    @property
    def part(self) -> float:
        """Which part of the table it is."""
        return sum(high - low for low, high in self.ranges) / self.pages if self.pages else 1.0

    def rows(self, columns: str) -> str:
        """A query for its rows."""
        return " UNION ALL ".join(
            f"SELECT {columns} FROM ONLY {self.table.sql} WHERE ctid >= '({low},0)' AND ctid < '({high},0)'"
            for low, high in self.ranges
        )


def sample_of(connection: Connection, table: Table, part: float) -> Sample:
    """A part of a table, between 0 and 1: all of a small one."""
    size, page = catalog.rows(
        connection,
        "SELECT pg_relation_size(%(oid)s)::bigint, current_setting('block_size')::bigint",
        oid=table.oid,
    )[0]
    pages = int(size // page)
    wanted = max(round(pages * part), 1)
    if wanted >= pages or pages < 2 * _PLACES:
        return Sample(table, pages, ((0, pages),), int(size))
    length, step = max(wanted // _PLACES, 1), pages / _PLACES
    starts = [round(n * step) for n in range(_PLACES)]
    return Sample(table, pages, tuple((start, start + length) for start in starts), int(size))


def bring(connection: Connection, sample: Sample, scratch: Connection) -> int:
    """Copy the rows of a sample into the table of the same name of a scratch database; return how many.

    For connections of any driver, the scratch one in autocommit mode. Generated columns are computed there.
    The table loses its foreign keys: the rows that they refer to are not brought.
    """
    columns = [
        name for name, column in catalog.columns(connection, sample.table.oid).items() if not column.generated
    ]
    listed = ", ".join(map(quote, columns))
    given = ", ".join(f"(r.v).{quote(name)}" for name in columns)
    rows = "SELECT {row}::text FROM ({sample}) AS lockstep_row".format(
        row="lockstep_row", sample=sample.rows(_all_columns(connection, sample.table))
    )
    foreign_keys = catalog.rows(
        scratch,
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = to_regclass(%(table)s)",
        table=sample.table.sql,
    )
    drops = "".join(f", DROP CONSTRAINT {quote(name)}" for (name,) in foreign_keys)
    execute(scratch, f"ALTER TABLE {sample.table.sql} DISABLE TRIGGER USER{drops}")
    brought = 0
    for batch in _batches([row[0] for row in catalog.rows(connection, rows)]):
        # OFFSET keeps the planner from reading a row anew for each of its columns.
        scratch.exec_driver_sql(
            f"INSERT INTO {sample.table.sql} ({listed}) OVERRIDING SYSTEM VALUE SELECT {given} "
            f"FROM (SELECT t::{sample.table.sql} AS v FROM unnest(%(rows)s::text[]) t OFFSET 0) r",
            {"rows": batch},
        )
        brought += len(batch)
    execute(scratch, f"ALTER TABLE {sample.table.sql} ENABLE TRIGGER USER")
    execute(scratch, f"VACUUM (ANALYZE) {sample.table.sql}")
    return brought


def _all_columns(connection: Connection, table: Table) -> str:
    return ", ".join(map(quote, catalog.columns(connection, table.oid)))


def _batches(rows: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
