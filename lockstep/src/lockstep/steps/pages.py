"""Going over a table in batches of pages, each so short that nobody who writes to the same rows notices."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.servers import another_connection
from lockstep.postgres.session import execute, sqlstate, transaction
from lockstep.steps.health import Health
from lockstep.steps.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace

    #: Changes the rows of a batch over a connection; returns how many.
    Batch = Callable[[Connection, "Pages"], int]

log = logging.getLogger("alembic.lockstep")

#: How many pages one connection goes over before it takes the next ones: what it wrote is still in memory
#: when it comes by again in the next turn.
_STRETCH = 512

#: Rows that a page can have at most (MaxHeapTuplesPerPage, with pages of 8 kB).
_MOST_ROWS = 291

#: A batch is broken off after this many times the time it should take.
_TOO_LONG = 4

#: How long a walk goes on alone before another connection joins it, in seconds.
_ALONE = 0.5


@dataclass(frozen=True)
class Pages:
    """The rows of a batch: those of some pages, or one turn's share of them."""

    first: int
    until: int
    turn: int = 0
    turns: int = 1
    batch_time: float = 0.02
    """How long the batch should take, in seconds."""

    def inside(self, qualifier: str = "") -> str:
        """The condition on ``ctid``."""
        place = f"{qualifier}ctid"
        condition = f"{place} >= '({self.first},0)'::tid AND {place} < '({self.until},0)'::tid"
        if self.turn + 1 == self.turns:  # the last one takes what is left, whatever moved
            return condition
        return f"{condition} AND (hashtid({place}) & 63) < {64 * (self.turn + 1) // self.turns}"


@contextmanager
def short_transaction(
    connection: Connection, pace: Pace, pages: Pages, *, without_triggers: bool = False
) -> Iterator[None]:
    """The transaction of a batch: it waits for no standby, and takes only so long, locks included.

    ``without_triggers``: without firing triggers. A batch of one page may take its time.
    """
    values = {
        # What it wrote to the WAL is not left to the next one who commits.
        "synchronous_commit": "local",
        # Rows that a policy hides would be left out in silence; this makes it an error.
        "row_security": "off",
        "lock_timeout": f"{round(pace.lock_timeout * 1000)}ms",
        "statement_timeout": f"{_limit(pages) * 1000:.0f}ms",
    }
    if without_triggers:
        values["session_replication_role"] = "replica"
    with transaction(connection):
        execute(
            connection,
            "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items()),
        )
        yield


def _limit(pages: Pages) -> float:
    return 0.0 if pages.until - pages.first == 1 else max(_TOO_LONG * pages.batch_time, 0.05)


class _Width:
    """How many pages a batch should have, from what earlier ones took.

    Pages differ: an empty stretch says nothing about the full one behind it. So a batch never has more pages
    than could be changed in time if all were as full as the fullest that were seen.
    """

    def __init__(self, rows_a_page: float, turns: int) -> None:
        self._densest = rows_a_page
        self._turns = turns
        self._row = 1e-5
        self._width = 16.0

    def pages(self, batch_time: float) -> int:
        most = self._turns * batch_time / (self._row * self._densest)
        return max(int(min(self._width, 2 * most)), 1)

    def learn(self, pages: Pages, rows: int, took: float) -> None:
        number = pages.until - pages.first
        if rows:
            self._densest = max(self._densest, min(rows * self._turns / number, _MOST_ROWS))
        if rows > 20:
            self._row += 0.3 * (took / rows - self._row)
        # Not more than twice as many at once: one lucky batch says little about the next.
        self._width = min(max(number * min(max(pages.batch_time / max(took, 1e-4), 0.25), 2.0), 1.0), 1e6)

    def broken_off(self, pages: Pages) -> None:
        self._width = max((pages.until - pages.first) / 4, 1.0)


def walk(
    connection: Connection,
    pace: Pace,
    table: str,
    name: str,
    batch: Batch,
    *,
    written: str = "",
    turns: int = 1,
    connections: int = 1,
) -> int:
    """Call ``batch`` for the pages of a table, sized to take ``pace.batch_time``; return the sum of what it
    returns.

    With ``turns`` above 1 it goes over every stretch of pages so many times and hands out another share of
    the rows each time: what an earlier turn moved away leaves room for later rows to stay on their page.
    With ``connections`` above 1 others like this one join a walk that lasts; one that fails leaves its pages
    to this one. Pauses where others need it (see ``health``). Pages that are added meanwhile are not visited.

    ``written`` is the table whose rows are changed, where it is another one.
    """
    pages, densest = _size(connection, table)
    tidy = _pending_lists(connection, written or table)
    health = Health(connection, pace, written or table)
    started = time.monotonic()
    with bar(name, "pages", pages) as meter:
        going = _Walk(pages, densest, batch, turns, tidy, meter.advance)
        helped = _Helped(going, pace, written or table)

        def join() -> None:
            if not helped.threads and connections > 1 and time.monotonic() - started > _ALONE:
                helped.by(connection, connections - 1)

        with helped:
            going.on(connection, health, join)
        going.on(connection, health)  # what one that failed has left
    return going.changed


class _Walk:
    """The pages that are left, for one connection or several."""

    def __init__(
        self,
        pages: int,
        densest: float,
        batch: Batch,
        turns: int,
        tidy: str,
        advance: Callable[[float], None],
    ) -> None:
        self._pages = pages
        self._densest = densest
        self._batch = batch
        self._turns = turns
        self._tidy = tidy
        self._advance = advance
        self._lock = threading.Lock()
        self._next = 0
        self._left: list[Pages] = []
        self.changed = 0
        self.stopped = False

    def on(self, connection: Connection, health: Health, between: Callable[[], None] = lambda: None) -> None:
        """Go on over a connection until no pages are left, or it is stopped."""
        # One for each turn: rows that stay on their page take less than those that move.
        widths = [_Width(self._densest, self._turns) for _ in range(self._turns)]
        while (stretch := self._take()) is not None:
            try:
                self._over(connection, stretch, widths, health, between)
            except BaseException:
                with self._lock:
                    self._left.append(stretch)
                raise

    def _take(self) -> Pages | None:
        with self._lock:
            if self.stopped:
                return None
            if self._left:
                return self._left.pop()
            if self._next >= self._pages:
                return None
            stretch = Pages(self._next, min(self._next + _STRETCH, self._pages))
            self._next = stretch.until
            return stretch

    def _over(
        self,
        connection: Connection,
        stretch: Pages,
        widths: list[_Width],
        health: Health,
        between: Callable[[], None],
    ) -> None:
        for turn, width in enumerate(widths):
            page = stretch.first
            while page < stretch.until and not self.stopped:
                batch_time = health.pace.batch_time
                until = min(page + width.pages(batch_time), stretch.until)
                pages = Pages(page, until, turn, self._turns, batch_time)
                started = time.monotonic()
                try:
                    rows = self._batch(connection, pages)
                except DBAPIError as error:
                    if not _broken_off(error, pages, time.monotonic() - started):
                        raise
                    width.broken_off(pages)
                    continue
                width.learn(pages, rows, time.monotonic() - started)
                page = pages.until
                if rows and self._tidy:
                    with suppress(DBAPIError):  # it spares others work, no more
                        execute(connection, self._tidy)
                with self._lock:
                    self.changed += rows
                    self._advance((pages.until - pages.first) / self._turns)
                health.breathe()
                between()


def _broken_off(error: DBAPIError, pages: Pages, took: float) -> bool:
    """Whether a batch ended because it took too long (query_canceled), not because somebody cancelled it."""
    limit = _limit(pages)
    return sqlstate(error) == "57014" and 0 < limit <= took


class _Helped:
    """Further connections at work on a walk, each in a thread; waits for them in the end."""

    def __init__(self, going: _Walk, pace: Pace, table: str) -> None:
        self._going = going
        self._pace = pace
        self._table = table
        self.threads: list[threading.Thread] = []

    def by(self, connection: Connection, number: int) -> None:
        for _ in range(number):
            thread = threading.Thread(
                target=self._help, args=(_another(connection),), name="lockstep-walk", daemon=True
            )
            self.threads.append(thread)
            thread.start()

    def _help(self, connection: Connection | None) -> None:
        if connection is None:
            return
        try:
            self._going.on(connection, Health(connection, self._pace, self._table))
        except (SQLAlchemyError, LockstepError) as error:
            log.debug("a further connection left its pages to the first one: %s", error)
        finally:
            with suppress(SQLAlchemyError):
                connection.close()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._going.stopped = kind is not None
        for thread in self.threads:
            thread.join()


def _another(connection: Connection) -> Connection | None:
    """A connection like this one; None where none is to be had, or the session has things of its own."""
    if catalog.scalar(connection, "SELECT pg_my_temp_schema() <> 0"):
        return None
    try:
        return another_connection(connection)
    except (SQLAlchemyError, LockstepError) as error:
        log.debug("no further connection: %s", error)
        return None


def _size(connection: Connection, table: str) -> tuple[int, float]:
    """The pages of a table, and how many rows they have on average; as many as fit where that is unknown."""
    name = catalog.literal(table.removeprefix("ONLY "))
    pages, rows = catalog.rows(
        connection,
        "SELECT pg_relation_size(oid) / current_setting('block_size')::int, "
        "CASE WHEN relpages > 0 AND reltuples > 0 THEN reltuples / relpages END "
        f"FROM pg_class WHERE oid = {name}::regclass",
    )[0]
    return int(pages), min(float(rows or _MOST_ROWS), _MOST_ROWS)


def _pending_lists(connection: Connection, table: str) -> str:
    """A statement that empties the pending lists of a table's GIN indexes; "" where there is nothing to do.

    A list that a fill has filled would be emptied by whoever comes next, which takes tenths of a second
    (PostgreSQL manual, GIN Fast Update Technique). Only the owner of an index may do it.
    """
    indexes = catalog.rows(
        connection,
        """
        SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE i.indrelid = %(name)s::regclass AND a.amname = 'gin' AND i.indisready
          AND pg_has_role(c.relowner, 'USAGE')
          AND NOT coalesce(c.reloptions, '{}') && '{fastupdate=off,fastupdate=false,fastupdate=0}'
        """,
        name=table.removeprefix("ONLY "),
    )
    return "SELECT " + ", ".join(f"gin_clean_pending_list({row[0]})" for row in indexes) if indexes else ""
