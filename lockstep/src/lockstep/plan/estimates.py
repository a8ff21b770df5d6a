"""How long pending statements will take, how much WAL they write and how much disk they need, from a sample.

What builds or rewrites is run on a sample of the rows in a scratch database. What only reads (a validation)
is tried on a part of the real table, in a transaction that may only read: what reading costs there is not the
same elsewhere.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.plan import reading
from lockstep.plan.sample import bring, sample_of
from lockstep.plan.validation import extrapolated, query_of, validated_by
from lockstep.postgres import catalog
from lockstep.postgres.session import execute
from lockstep.postgres.statements import classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.plan.operation import PlannedOperation
    from lockstep.plan.sample import Sample
    from lockstep.postgres.catalog import Table
    from lockstep.postgres.statements import Statement
    from lockstep.postgres.syntax import Node

#: How many rows are copied to be tried on, and on which parts of a table a validation is tried: first on one
#: that brings what it refers to into memory.
ROWS = 100_000
_WARM, _FEW, _MORE = 0.02, 0.05, 0.2

#: How far below and above what was extrapolated the range reaches.
_LOW, _HIGH = 0.7, 1.4

#: What takes less on the sample is not extrapolated: it would be its overhead that is.
_MOMENT = 0.01


_JOINS = {"Hash Join": "hashjoin", "Merge Join": "mergejoin", "Nested Loop": "nestloop"}

#: Why a statement has no estimate: its rows cannot be read, or not be put into the scratch database.
_CANNOT = (DBAPIError, reading.NotLookedAtError, reading.NotKnownError, reading.ValueRefusedError)


class Work(StrEnum):
    """What takes the time."""

    INDEX = "index build"
    FILL = "fill"
    REWRITE = "rewrite"
    VALIDATION = "validation"
    FOREIGN_KEY = "foreign key validation"


@dataclass(frozen=True)
class Range:
    """From a low to a high estimate."""

    low: float
    high: float

    @classmethod
    def around(cls, value: float, fewer: float = 1.0, more: float = 0.0) -> Range:
        """A range around a value, which may be ``fewer`` times as much, or ``more`` on top."""
        return cls(value * fewer * _LOW, value * _HIGH + more)


@dataclass(frozen=True)
class Estimate:
    """What one statement will take."""

    revision: str
    statement: str
    table: str
    work: Work
    rows: int
    """How many the table has, as PostgreSQL estimates it."""
    seconds: Range
    wal: Range
    """In bytes."""
    disk: Range
    """In bytes: what the table and its indexes grow by, or need beside the old ones meanwhile."""


def estimates(
    connection: Connection,
    operations: Iterable[PlannedOperation],
    scratch: Connection,
    *,
    statement_timeout: float = 60.0,
) -> list[Estimate]:
    """Estimates for those of the statements that take long, as they are sent.

    ``scratch`` is a connection in autocommit mode to a database that has the target's catalog and no rows. It
    is filled with samples and changed by the statements; whoever made it drops it.
    """
    reader = reading.Reader(connection, statement_timeout, None)
    trial = _Trial(reader, scratch)
    found: list[Estimate] = []
    planned = list(operations)
    with reader.reading():
        for operation in planned:
            if operation.table:  # before the first statement gives it another name
                trial.bring(operation.table.name, operation.table.schema)
    for operation in planned:
        for sql in operation.sql:
            for statement in classify(sql).statements:
                with reader.reading(operation.search_path):
                    found += trial.of(operation, statement)
    return found


@dataclass(frozen=True)
class _Brought:
    """What is known of a table whose sample is in the scratch database."""

    sample: Sample
    copied: int
    rows: int
    """How many the table itself has."""


class _Trial:
    """The statements, run one after the other on samples."""

    def __init__(self, reader: reading.Reader, scratch: Connection) -> None:
        self._reader, self._scratch = reader, scratch
        self._brought: dict[str, _Brought | None] = {}

    def of(self, operation: PlannedOperation, statement: Statement) -> Iterator[Estimate]:
        """What a statement will take; nothing where that is a moment, or cannot be tried."""
        if operation.search_path:
            self._run(f"SET search_path = {reading.quoted_path(operation.search_path)}")
        node, fields = statement.node[0], statement.fields
        relation = fields.get("relation")
        names_of = (operation.table.name, operation.table.schema) if operation.table else None
        if relation and names_of is None:
            names_of = (relation["relname"], relation.get("schemaname"))
        brought = self.bring(*names_of) if relation and names_of else None
        copy = self._copy(relation) if relation else None
        if brought is None or copy is None:
            self._run(statement.text)
            return
        table = brought.sample.table
        validated = validated_by(self._scratch, copy, node, fields)
        if validated is not None:
            foreign = validated["contype"] == "CONSTR_FOREIGN"
            with suppress(*_CANNOT):
                yield Estimate(
                    operation.revision, statement.text, str(table),
                    Work.FOREIGN_KEY if foreign else Work.VALIDATION, brought.rows,
                    Range.around(self._reads(table, validated)), Range(0, 0), Range(0, 0),
                )  # fmt: skip
            self._run(statement.text)
            return
        measured = self._measure(copy, statement.text)
        if measured is None or measured.seconds < _MOMENT:
            return
        work = Work.REWRITE if measured.rewrote else _work(node, fields)
        if work is None:
            return
        many = brought.rows / max(brought.copied, 1)
        deeper = math.log2(max(brought.rows, 2)) / math.log2(max(brought.copied, 2))
        slower = deeper if work is Work.INDEX else 1.0
        # A fill writes each page whole that was not changed since the last checkpoint.
        whole_pages = brought.sample.bytes if work is Work.FILL and self._writes_whole_pages() else 0
        # The more rows there are, the more often has an index the same key, which it then keeps once.
        fewer = 0.5 if work is Work.INDEX and not fields.get("unique") else 1.0
        yield Estimate(
            operation.revision, statement.text, str(table), work, brought.rows,
            Range.around(measured.seconds * many * slower),
            Range.around(measured.wal * many, fewer, whole_pages),
            Range.around(measured.disk * many, fewer),
        )  # fmt: skip

    def _writes_whole_pages(self) -> bool:
        return bool(catalog.scalar(self._reader.connection, "SHOW full_page_writes") == "on")

    def _copy(self, relation: Node) -> Table | None:
        with suppress(DBAPIError):
            return catalog.find_table(self._scratch, relation["relname"], relation.get("schemaname"))
        return None

    def bring(self, name: str, schema: str | None) -> _Brought | None:
        """Bring a sample of a table to the scratch database, once; None where it cannot be."""
        table = catalog.find_table(self._reader.connection, name, schema)
        if table is None or table.kind != "r":
            return None
        if table.sql not in self._brought:
            self._brought[table.sql] = None
            with suppress(*_CANNOT), self._reader.asking():
                self._brought[table.sql] = self._first(table)
        return self._brought[table.sql]

    def _first(self, table: Table) -> _Brought:
        connection = self._reader.connection
        known = "SELECT reltuples::bigint FROM pg_class WHERE oid = %(oid)s"
        rows = int(catalog.scalar(connection, known, oid=table.oid))
        if rows <= 0:
            rows = int(catalog.scalar(connection, f"SELECT count(*) FROM ONLY {table.sql}"))
        sample = sample_of(connection, table, min(ROWS / max(rows, 1), 1.0))
        copied = bring(connection, sample, self._scratch)
        return _Brought(sample, copied, rows if sample.part < 1 else copied)

    def _run(self, text: str) -> None:
        """Bring the scratch database to where the next statement finds it; a failure is not this one's."""
        with suppress(DBAPIError):
            execute(self._scratch, text)

    def _measure(self, table: Table, text: str) -> _Measured | None:
        scratch = self._scratch
        try:
            before = _state(scratch, table)
            begun = time.perf_counter()
            execute(scratch, text)
            seconds = time.perf_counter() - begun
            after = _state(scratch, table)
        except DBAPIError:
            return None
        new = sum(size for file, size in after.files.items() if file not in before.files)
        grown = sum(after.files.values()) - sum(before.files.values())
        return _Measured(seconds, after.wal - before.wal, max(new, grown), before.heap != after.heap)

    def _reads(self, table: Table, constraint: Node) -> float:
        """What validating takes, from what it takes on two parts of the real table."""
        connection = self._reader.connection
        # As PostgreSQL's own query runs (RI_Initial_Check): by one process, and joined as all of it would be.
        execute(connection, "SET LOCAL max_parallel_workers_per_gather = 0")
        execute(connection, "SELECT set_config('work_mem', current_setting('maintenance_work_mem'), true)")
        execute(connection, "SET LOCAL hash_mem_multiplier = 1")
        plan, whole = self._planned(query_of(sample_of(connection, table, 1.0), constraint))
        joins = [name for name in _JOINS if any(_joins(name, line) for line in plan)]
        for name, setting in _JOINS.items() if joins else ():
            execute(connection, f"SET LOCAL enable_{setting} = {'on' if name in joins else 'off'}")
        self._timed(query_of(sample_of(connection, table, _WARM), constraint))
        few, more = (sample_of(connection, table, part) for part in (_FEW, _MORE))
        quick, slow = (self._timed(query_of(sample, constraint)) for sample in (few, more))
        _, tried = self._planned(query_of(more, constraint))
        return extrapolated((few.part, quick), (more.part, slow), whole / tried)

    def _planned(self, query: str) -> tuple[list[str], float]:
        """The lines of a query's plan, and its cost."""
        lines = [row[0] for row in catalog.rows(self._reader.connection, f"EXPLAIN {query}")]
        return lines, float(lines[0].partition("..")[2].partition(" ")[0])

    def _timed(self, query: str) -> float:
        begun = time.perf_counter()
        self._reader.rows(query)
        return time.perf_counter() - begun


def _joins(name: str, line: str) -> bool:
    """Whether a line of a plan is such a join: ``Hash Right Anti Join``, too."""
    first, last = name.split()
    return f"{first} " in line and last in line


@dataclass(frozen=True)
class _Measured:
    seconds: float
    wal: int
    disk: int
    rewrote: bool


@dataclass(frozen=True)
class _State:
    heap: int
    files: dict[int, int]
    wal: int


def _state(scratch: Connection, table: Table) -> _State:
    """The files of a table and its indexes with their sizes, and how much WAL was written."""
    files = catalog.rows(
        scratch,
        f"""
        SELECT pg_relation_filenode(c.oid)::bigint, pg_table_size(c.oid), c.relkind = 'r' FROM pg_class c
        WHERE c.oid = '{table.sql}'::regclass
           OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = '{table.sql}'::regclass)
        """,
    )
    wal = catalog.scalar(scratch, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    heap = next(row[0] for row in files if row[2])
    return _State(int(heap), {int(row[0]): int(row[1]) for row in files}, int(wal))


def _work(node: str, fields: Node) -> Work | None:
    """What a statement that does not rewrite the table spends its time on."""
    if node == "IndexStmt":
        return Work.INDEX
    if node in {"UpdateStmt", "DeleteStmt"}:
        return Work.FILL
    added = [one["AlterTableCmd"] for one in fields.get("cmds", ())]
    kinds = {one["def"]["Constraint"]["contype"] for one in added if one["subtype"] == "AT_AddConstraint"}
    if kinds & {"CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION"}:
        return Work.INDEX
    return Work.VALIDATION if any(one["subtype"] == "AT_AlterColumnType" for one in added) else None
