"""Running one step the way its kind asks for, and writing down that it is done."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, sqlstate, transaction, unhurried
from lockstep.steps import events
from lockstep.steps.batches import copy, fill
from lockstep.steps.health import wait_while_paused
from lockstep.steps.locks import brief, take_locks, watch
from lockstep.steps.step import IN_ONE_TRANSACTION, Kind, Step
from lockstep.steps.validated import add_validated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")

#: What a warning that a step's own SQL raises begins with, by which it is told from everybody else's.
WARNS = "lockstep: "


@dataclass
class Trace:
    """Whether a step that failed has left anything."""

    began: bool = False
    """Whether something of it was committed, or may have been."""

    def begin(self) -> None:
        self.began = True


def left_nothing(connection: Connection, step: Step, trace: Trace) -> bool:
    """Whether the database is as it was before the step, which failed."""
    if not trace.began:
        return True
    return bool(step.undo_present and catalog.scalar(connection, step.undo_present))


def run_step(
    connection: Connection,
    pace: Pace,
    step: Step,
    name: str,
    record: Callable[[], None],
    *,
    again: bool,
    trace: Trace | None = None,
) -> None:
    """Run a step of the operation ``name``; ``record`` is called in the transaction of the step.

    A step outside of transactions is recorded right after it; ``again`` says that an earlier process may have
    run it. Where data break a constraint, rows at fault are logged before the error is raised. ``trace`` is
    told whether it began.
    """
    trace = trace or Trace()
    if again and step.kind not in IN_ONE_TRANSACTION:
        trace.begin()
    pace = wait_while_paused(connection, pace)
    started = time.monotonic()
    about = {"operation": name, "step": step.description}
    events.emit("step_started", **about)
    try:
        with _warnings_logged(connection):
            _run(connection, pace, step, name, record, trace.begin, again=again)
    except BaseException as error:
        events.emit("step_failed", **about, seconds=_since(started), error=str(error).partition("\n")[0])
        raise
    events.emit("step_finished", **about, seconds=_since(started))


@contextmanager
def _warnings_logged(connection: Connection) -> Iterator[None]:
    """Log what a step's own statements warn of: rows that were left behind, say."""
    driver: Any = connection.connection.dbapi_connection

    def tell(notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING" and (notice.message_primary or "").startswith(WARNS):
            log.warning("%s", notice.message_primary.removeprefix(WARNS))

    driver.add_notice_handler(tell)
    try:
        yield
    finally:
        driver.remove_notice_handler(tell)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _run(
    connection: Connection,
    pace: Pace,
    step: Step,
    name: str,
    record: Callable[[], None],
    began: Callable[[], None],
    *,
    again: bool,
) -> None:
    def work() -> None:
        for statement in step.sql:
            execute(connection, statement)
        record()

    try:
        if step.kind is Kind.BRIEF:
            brief(connection, pace, step.description, work, locks=step.locks)
            return
        if step.kind is Kind.VALIDATED:
            add_validated(connection, pace, step, record, began, again=again)
            return
        with unhurried(connection), watch(connection, step.description, pace):
            if step.kind is Kind.LONG:
                with transaction(connection):
                    take_locks(connection, step.locks, pace.lock_timeout)
                    work()
                return
            if step.kind is Kind.FILL:
                fill(connection, pace, step, name, began)
            elif step.kind is Kind.COPY:
                began()
                copy(connection, pace, step, name)
            else:
                began()
                _outside(connection, step, again=again)
            with transaction(connection):
                record()
    except DBAPIError as error:
        explain(connection, step, error)
        if step.refusal and (sqlstate(error) or "").startswith("23"):
            raise LockstepError(step.refusal) from error
        raise


def _outside(connection: Connection, step: Step, *, again: bool) -> None:
    if again and step.present and catalog.scalar(connection, step.present):
        return
    for statement in step.leftover:
        execute(connection, statement)
    try:
        for statement in step.sql:
            execute(connection, statement)
    except DBAPIError:
        # A unique index that could not be built still refuses rows until it is dropped.
        with suppress(DBAPIError):
            for statement in step.leftover:
                execute(connection, statement)
        raise
    if step.present and not catalog.scalar(connection, step.present):
        raise LockstepError(f"{step.description}: the catalog does not show it as done")


def explain(connection: Connection, step: Step, error: DBAPIError) -> None:
    """Say which rows stand in the way, where the step knows how to find them: in the log, and as the error's
    notes.
    """
    if step.offenders is None or not (sqlstate(error) or "").startswith("23"):
        return
    with suppress(DBAPIError):
        for row in catalog.rows(connection, f"{step.offenders} LIMIT 5"):
            log.error("%s: this row is in the way: %s", step.description, row[0])
            error.add_note(f"{step.description}: this row is in the way: {row[0]}")
