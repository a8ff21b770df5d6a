"""How far a long step has come, and how long it will still take: a bar, log lines and events."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.steps import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.lockstep")

#: How often a log line and an event are written, in seconds.
_LINE_EVERY = 60.0
_EVENT_EVERY = 1.0


class Meter:
    """One phase of a step, in units of its own: pages, rows, sessions."""

    def __init__(self, operation: str, phase: str, total: float) -> None:
        self._operation = operation
        self._phase = phase
        self._total = total
        self._started = self._line = self._event = time.monotonic()
        self._done = 0.0

    def seconds_left(self) -> float | None:
        """By how fast it went so far; None while too little is done to say."""
        took = time.monotonic() - self._started
        if self._done <= 0 or self._total <= 0 or took < 1:
            return None
        return max(self._total - self._done, 0.0) * took / self._done

    def at(self, done: float) -> None:
        """So much is done; say so, not too often."""
        self._done = done
        now = time.monotonic()
        left = self.seconds_left()
        if now - self._event >= _EVENT_EVERY:
            self._event = now
            events.emit(
                "progress", operation=self._operation, phase=self._phase, done=done, total=self._total,
                seconds_left=None if left is None else round(left, 1),
            )  # fmt: skip
        if now - self._line >= _LINE_EVERY:
            self._line = now
            about = "" if left is None else f", about {left:.0f} s left"
            log.info("%s: %s: %.0f of %.0f%s", self._operation, self._phase, done, self._total, about)

    def advance(self, more: float) -> None:
        """So much more is done."""
        self.at(self._done + more)


@contextmanager
def bar(operation: str, unit: str, total: float) -> Iterator[Meter]:
    """A meter that is a bar on a terminal, too."""
    if not sys.stderr.isatty():
        yield Meter(operation, unit, total)
        return
    # Imported where it is needed, which is seldom: it takes as long as all of Lockstep.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(f"{operation} ({unit})", total=total)

        class Drawn(Meter):
            def at(self, done: float) -> None:
                super().at(done)
                shown.update(task, completed=done)

        yield Drawn(operation, unit, total)


# The manual, "Progress Reporting". What has no total of its own says 0.
REPORTED = """
SELECT 'index: ' || phase AS phase,
       CASE WHEN blocks_total > 0 THEN blocks_done WHEN tuples_total > 0 THEN tuples_done
            ELSE lockers_done END AS done,
       CASE WHEN blocks_total > 0 THEN blocks_total WHEN tuples_total > 0 THEN tuples_total
            ELSE lockers_total END AS total
FROM pg_stat_progress_create_index WHERE pid = %(pid)s
UNION ALL
SELECT 'analyze: ' || phase, sample_blks_scanned, sample_blks_total
FROM pg_stat_progress_analyze WHERE pid = %(pid)s
UNION ALL
SELECT 'vacuum: ' || phase, heap_blks_scanned, heap_blks_total
FROM pg_stat_progress_vacuum WHERE pid = %(pid)s
UNION ALL
SELECT 'copy', bytes_processed, bytes_total FROM pg_stat_progress_copy WHERE pid = %(pid)s
"""


class Reported:
    """The progress that PostgreSQL itself reports of what a session does, asked over another one."""

    def __init__(self, operation: str, pid: int) -> None:
        self._operation = operation
        self._pid = pid
        self._phase = ""
        self._meter: Meter | None = None

    def ask(self, connection: Connection) -> None:
        """Look once, and say what there is to say."""
        for phase, done, total in catalog.rows(connection, REPORTED, pid=self._pid):
            if self._meter is None or phase != self._phase:
                self._phase, self._meter = phase, Meter(self._operation, phase, float(total or 0))
            self._meter.at(float(done or 0))
