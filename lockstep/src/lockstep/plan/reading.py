"""Asking a table about its rows: in a transaction that may only read, with a limit on time and size."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.postgres.session import execute, set_lock_timeout, sqlstate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.plan.pending import PendingTable

#: How many rows are shown, and how many are counted where each of them costs statements of its own.
_SHOWN = 5
_COUNTED = 200

#: More than any page has rows: a row's place is its page times this, and its number there.
_PER_PAGE = 2048

#: How long a lock is waited for, in seconds.
_LOCK_TIMEOUT = 2.0

#: Longer values are cut when they are shown, in bytes.
_LONGEST = 400


class NotLookedAtError(Exception):
    """The rows were not read, and why."""


class NotKnownError(Exception):
    """The question cannot be put to the database as it is now, and why."""


class ValueRefusedError(Exception):
    """PostgreSQL refuses a value that it meets in a row."""


@dataclass(frozen=True)
class AtFault:
    """The rows at fault."""

    count: int = 0
    rows: tuple[dict[str, Any], ...] = ()
    at_least: bool = False
    messages: tuple[str, ...] = field(default=(), compare=False)
    """What PostgreSQL says of them."""


class Reader:
    """Reads rows of a database that is in use."""

    def __init__(self, connection: Connection, statement_timeout: float, largest: int | None) -> None:
        self.connection = connection
        self._timeout = statement_timeout
        self._largest = largest

    @contextmanager
    def reading(self, search_path: str = "") -> Iterator[None]:
        """A transaction that may only read, or a part of the one that is open. It is taken back."""
        driver: Any = self.connection.connection.dbapi_connection
        begin, end = "SAVEPOINT lockstep_reading", "ROLLBACK TO SAVEPOINT lockstep_reading"
        ours = not driver.autocommit and not self.connection.in_transaction()
        if driver.autocommit:
            begin, end = "BEGIN", "ROLLBACK"
        if not ours:
            execute(self.connection, begin)
        try:
            execute(self.connection, "SET LOCAL transaction_read_only = on")
            execute(self.connection, "SET LOCAL row_security = off")
            execute(self.connection, f"SET LOCAL statement_timeout = {round(self._timeout * 1000)}")
            set_lock_timeout(self.connection, _LOCK_TIMEOUT)
            if search_path:
                execute(self.connection, f"SET LOCAL search_path = {quoted_path(search_path)}")
            yield
        finally:
            if ours:
                self.connection.rollback()
            else:
                execute(self.connection, end)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A savepoint: an error in it leaves the transaction as it was, and is one of this module's."""
        execute(self.connection, "SAVEPOINT lockstep_asking")
        try:
            yield
        except DBAPIError as error:
            execute(self.connection, "ROLLBACK TO SAVEPOINT lockstep_asking")
            raise meaning(error, self._timeout) from error
        execute(self.connection, "RELEASE SAVEPOINT lockstep_asking")

    def rows(self, query: str) -> list[Any]:
        """Put one question."""
        with self.asking():
            return catalog.rows(self.connection, query)

    def where(
        self, table: PendingTable, condition: str, shown: Sequence[str], source: str | None = None
    ) -> AtFault:
        """The rows of which a condition is true."""
        self._refuse_large(table)
        query = (
            f"SELECT count(*) OVER (), {_values(table, shown)} FROM {source or table.rows()} "
            f"WHERE {condition} LIMIT {_SHOWN}"
        )
        try:
            return _at_fault(self.rows(query))
        except ValueRefusedError:
            return self.refused(table, condition, shown)

    def duplicates(
        self, table: PendingTable, keys: Sequence[str], shown: Sequence[str], where: str, *, nulls_equal: bool
    ) -> AtFault:
        """The rows that have a key which another row has, too."""
        self._refuse_large(table)
        conditions = [where] if where else []
        if not nulls_equal:
            conditions += [f"({key}) IS NOT NULL" for key in keys]
        chosen = " AND ".join(conditions) or "true"
        named = ", ".join(f"({key}) AS lockstep_{n}" for n, key in enumerate(keys))
        same = " AND ".join(f"few.lockstep_{n} IS NOT DISTINCT FROM ({key})" for n, key in enumerate(keys))
        listed = ", ".join(f"({key})" for key in keys)
        query = f"""
            WITH twice AS MATERIALIZED (
                SELECT {named}, count(*) AS lockstep_rows FROM {table.rows()} WHERE {chosen}
                GROUP BY {listed} HAVING count(*) > 1)
            SELECT (SELECT sum(lockstep_rows) FROM twice)::bigint, {_values(table, shown)} FROM {table.rows()}
            WHERE {chosen} AND EXISTS (SELECT FROM (SELECT * FROM twice LIMIT {_SHOWN}) few WHERE {same})
            ORDER BY {listed} LIMIT {_SHOWN}"""
        try:
            return _at_fault(self.rows(query))
        except ValueRefusedError as error:
            found = self.refused(table, f"ROW({listed})", shown)
            if found.count:
                return found
            raise NotKnownError(str(error)) from error

    def refused(self, table: PendingTable, value: str, shown: Sequence[str]) -> AtFault:
        """The rows for which PostgreSQL can't compute a value: the table is halved until they are found."""
        self._refuse_large(table)
        counted = f"SELECT count({value}) FROM {table.rows()}"
        try:
            self.rows(counted)
        except ValueRefusedError:
            pass
        else:
            return AtFault()
        until = time.monotonic() + self._timeout
        pages = self._pages(table)
        ranges, found = [(0, pages * _PER_PAGE)], AtFault()
        while ranges:
            if found.count >= _COUNTED or time.monotonic() > until:
                return AtFault(max(found.count, 1), found.rows, at_least=True, messages=found.messages)
            low, high = ranges.pop()
            within = f"lockstep_ctid >= '{_ctid(low)}' AND lockstep_ctid < '{_ctid(high)}'"
            try:
                self.rows(f"{counted} WHERE {within}")
            except ValueRefusedError as error:
                if high - low > 1:
                    middle = (low + high) // 2
                    if middle // _PER_PAGE > low // _PER_PAGE:  # between pages, as long as there are several
                        middle -= middle % _PER_PAGE
                    ranges += [(middle, high), (low, middle)]
                else:
                    found = self._with_row(found, table, value, within, shown, str(error))
        return found

    def _with_row(
        self, found: AtFault, table: PendingTable, value: str, within: str, shown: Sequence[str], said: str
    ) -> AtFault:
        """With what lies at one place: a row, or one of each partition."""
        count, rows = found.count, found.rows
        places = self.rows(f"SELECT lockstep_table::bigint FROM {table.rows()} WHERE {within}")
        for (oid,) in places:
            here = f"{within} AND lockstep_table = {oid}"
            if len(places) > 1:
                try:
                    self.rows(f"SELECT count({value}) FROM {table.rows()} WHERE {here}")
                except ValueRefusedError:
                    pass
                else:
                    continue
            count += 1
            if len(rows) < _SHOWN:
                row = self.rows(f"SELECT 1, {_values(table, shown)} FROM {table.rows()} WHERE {here}")
                rows = (*rows, *_at_fault(row).rows)
        return AtFault(count, rows, messages=(*found.messages, said)[:_SHOWN])

    def has_rows(self, table: PendingTable) -> bool:
        return bool(self.rows(f"SELECT FROM {table.rows()} LIMIT 1"))

    def count(self, table: PendingTable) -> int:
        self._refuse_large(table)
        return int(self.rows(f"SELECT count(*) FROM {table.rows()}")[0][0])

    def _pages(self, table: PendingTable) -> int:
        """How many pages the longest of its files has."""
        return int(
            self.rows(f"SELECT coalesce(max(pg_relation_size(oid)), 0) FROM ({_files(table)}) files")[0][0]
            // int(self.rows("SHOW block_size")[0][0])
            + 1
        )

    def _refuse_large(self, table: PendingTable) -> None:
        if self._largest is None:
            return
        size = int(self.rows(f"SELECT sum(pg_table_size(oid)) FROM ({_files(table)}) files")[0][0] or 0)
        if size > self._largest:
            raise NotLookedAtError(
                f"{table.label} is larger than {in_bytes(self._largest)} ({in_bytes(size)})"
            )  # fmt: skip


def quoted_path(search_path: str) -> str:
    """A list of schemas as SQL has it, whether or not each is quoted in it."""
    return ", ".join(
        quote(name.strip().removeprefix('"').removesuffix('"')) for name in search_path.split(",")
    )


def _files(table: PendingTable) -> str:
    """A query for the tables that its rows lie in."""
    oid = table.real.oid if table.real else 0
    return (
        f"WITH RECURSIVE all_of(oid) AS (SELECT {oid}::oid UNION SELECT inhrelid FROM pg_inherits, all_of "
        "WHERE inhparent = all_of.oid) SELECT oid FROM all_of"
    )


def in_bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size} {unit}"
        size //= 1024
    raise AssertionError


def _ctid(place: int) -> str:
    return f"({place // _PER_PAGE},{place % _PER_PAGE})"


def _values(table: PendingTable, columns: Sequence[str]) -> str:
    """The primary key and the values that matter, as JSON."""
    wanted = dict.fromkeys([*table.key, *columns])
    known = [column for column in wanted if column in table.types]
    cells = ", ".join(
        f"CASE WHEN pg_column_size({name}) > {_LONGEST} THEN to_jsonb(left({name}::text, {_LONGEST // 2})) "
        f"ELSE to_jsonb({name}) END AS {name}"
        for name in map(quote, known)
    )
    return f"(SELECT to_jsonb(lockstep_shown) FROM (SELECT {cells}) lockstep_shown)::text"


def _at_fault(found: list[Any]) -> AtFault:
    return AtFault(int(found[0][0]), tuple(json.loads(row[1]) for row in found)) if found else AtFault()


def meaning(error: DBAPIError, timeout: float) -> Exception:
    """What an error says about the question."""
    state = sqlstate(error) or ""
    said = str(error.orig).splitlines()[0]
    if state == "57014":
        return NotLookedAtError(f"reading takes longer than {timeout:g} s (statement_timeout)")
    if state == "55P03":
        return NotLookedAtError(f"others hold locks on it for longer than {_LOCK_TIMEOUT:g} s")
    if state == "42501":
        return NotLookedAtError(f"this role may not read it: {said}")
    if state[:2] in {"22", "23", "2F", "38", "39", "P0", "54", "21"}:
        return ValueRefusedError(said)
    if state[:2] in {"42", "0A", "25", "3F"}:
        return NotKnownError(said)
    return error
