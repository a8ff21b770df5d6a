"""One migrator at work: runs each operation of a revision as steps, and writes down how far it has come."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, InvalidRequestError

from lockstep.errors import CannotContinueError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, sqlstate, transaction, unhurried
from lockstep.revision.ledger import Entry, Ledger, Underway
from lockstep.revision.listener import Listener, in_autocommit
from lockstep.revision.planning import Planning, Touched
from lockstep.steps.locks import RETRIED, brief, pause, take_locks, watch
from lockstep.steps.run import run_step
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.steps.pace import Pace

    Locks = tuple[tuple[str, str], ...]

log = logging.getLogger("alembic.lockstep")

#: active_sql_transaction: VACUUM and its like.
_NO_TRANSACTION_BLOCK = "25001"


class Migrator:
    """What the operations of one Alembic run share: the connection, the pace, the ledger."""

    def __init__(self, pace: Pace, ledger: Ledger, *, short_way: bool = True) -> None:
        self.pace = pace
        self.ledger = ledger
        self.short_way = short_way
        self.context: MigrationContext
        self.touched = Touched()
        self.at_the_end: list[Callable[[], Any]] = []
        """What follows the revision's own code."""
        self._underway: Underway | None = None
        self._step: RevisionStep | None = None
        self._source_hash = ""
        self._occurrences: Counter[str] = Counter()
        self._position = 0
        self._segments = 0
        self.listener = Listener(pace.lock_timeout, self._write_journal)

    @property
    def planning(self) -> Planning:
        """What an operation's planner may ask."""
        return Planning(
            self.context, self.pace, self.ledger.version_table, self.revision, self.direction,
            self.short_way, self.touched,
        )  # fmt: skip

    # The names that operations/ and archive/ use until they are handed a Planning.

    @property
    def connection(self) -> Connection:
        return self.planning.connection

    @property
    def created(self) -> set[tuple[str | None, str]]:
        return self.touched.created

    @property
    def added(self) -> set[tuple[str, str]]:
        return self.touched.added

    @property
    def revision(self) -> str:
        """The revision at hand."""
        return "" if self._step is None else str(self._step.revision.revision)

    @property
    def direction(self) -> str:
        """``upgrade`` or ``downgrade``, as far as a revision is at hand."""
        return "" if self._step is None else _direction(self._step)

    @property
    def offline(self) -> bool:
        return bool(self.context.as_sql)

    # -- a revision ------------------------------------------------------------------------------------

    def migrate(self, step: RevisionStep, function: Callable[..., None], **arguments: Any) -> None:
        """Run one revision's function, from where an earlier run of it stopped.

        A statement of the function's own that does not get its lock makes the whole function run again: what
        it has committed is not done twice. Raises CannotContinueError where an earlier run is in the way.
        """
        self._step = step
        self._source_hash = hashlib.sha256(Path(step.revision.path).read_bytes()).hexdigest()
        if self.offline:
            self._restart()
            function(**arguments)
            return
        self._underway = self.ledger.read(self.connection)
        if self._underway:
            self._continue(self._underway, step)
        started = time.monotonic()
        attempt = 0
        while True:
            self._restart()
            try:
                self._run_function(function, **arguments)
            except DBAPIError as error:
                impatient = self.pace.give_up_after
                if (
                    not self.listener.timed_out
                    or sqlstate(error) not in RETRIED
                    or (impatient is not None and time.monotonic() - started > impatient)
                ):
                    self._stopped(error)
                    raise
                with self.outside(abandon=True):
                    self._underway = self.ledger.read(self.connection)
                log.info("the revision's own statement did not get its lock; trying again")
                pause(attempt)
                attempt += 1
            except Exception as error:
                self._stopped(error)
                raise
            else:
                return

    def _restart(self) -> None:
        self._occurrences.clear()
        self._position = 0
        self.touched = Touched()
        self.at_the_end.clear()
        entries = self._underway.entries if self._underway else []
        recorded = [line for entry in entries for step in entry.steps for line in step.journal]
        self._segments = sum(1 for entry in entries if entry.steps and entry.steps[0].journal)
        self.listener.start(recorded)

    def _run_function(self, function: Callable[..., None], **arguments: Any) -> None:
        with self.listener.hearing(hears=True):
            function(**arguments)
            for give_back in self.at_the_end:
                give_back()
        # What it wrote last is committed together with the version table: nothing to write down.
        self.listener.forget()

    def _write_journal(self, step: Step) -> None:
        self._segments += 1
        self._position += 1
        self._record(Entry(f"statements #{self._segments}", self._position, step.description, (step,), 0), 1)

    def _continue(self, underway: Underway, step: RevisionStep) -> None:
        direction = _direction(step)
        if (underway.revision, underway.direction) != (step.revision.revision, direction):
            raise CannotContinueError(
                f"the {underway.direction} of revision {underway.revision} is half done, "
                f"so the {direction} of {step.revision.revision} cannot start"
            )
        if underway.source_hash != self._source_hash:
            raise CannotContinueError(
                f"the file of revision {underway.revision} was changed after its {underway.direction} was "
                "half done; put it back as it was to go on"
            )
        log.info(
            "continuing revision %s, begun at %s: %d operations are under way or done",
            underway.revision, underway.started_at, len(underway.entries),
        )  # fmt: skip

    def _stopped(self, error: Exception) -> None:
        underway = None
        # InvalidRequestError: the revision's code has ended Alembic's transaction before it raised.
        with suppress(DBAPIError, InvalidRequestError), self.outside(abandon=True):
            underway = self.ledger.read(self.connection)
            if underway:
                with transaction(self.connection):
                    self.ledger.fail(self.connection, str(getattr(error, "orig", error)).strip())
        if underway:
            log.warning(
                "revision %s stopped half way; what it did so far stays, and the service can go on. "
                "Upgrade again to continue it, or downgrade to take it back",
                underway.revision,
            )

    def finish(self, **_: Any) -> None:
        """Alembic's on_version_apply hook: forget the ledger in the transaction of the version table."""
        if not self.offline and self._underway:
            self.ledger.finish(self.connection)
            self._underway = None

    # -- an operation ----------------------------------------------------------------------------------

    def perform(
        self,
        name: str,
        steps_of: Callable[[], Sequence[Step] | None],
        as_written: Callable[[], Any],
        *,
        table: tuple[str, str | None] | None = None,
        locks: Callable[[], Locks] = tuple,
        patient: bool = False,
        undo: Callable[[], tuple[str, ...] | None] = lambda: None,
    ) -> Any:
        """Run one operation: the steps of ``steps_of`` or, where that gives None, ``as_written`` in one
        transaction. What an earlier process did of it is not done again.

        ``table`` is locked first and looked at again where it was taken for empty. ``patient``: its locks
        make nobody wait, so it may wait for them. ``undo`` gives what takes the operation back as written.
        """
        self._occurrences[name] += 1
        self._position += 1
        key = f"{name} #{self._occurrences[name]}"
        entry = self._entry(key)
        if entry and entry.finished:
            log.info("%s: done before", name)
            return None
        if self.offline:
            return self._write_sql(steps_of(), as_written)
        if entry:
            _refuse_unknown(entry)
        if self.in_savepoint():
            self.warn(f"{name}: inside a savepoint of the revision's own, so it runs as plain Alembic does")
            return as_written()
        in_block = in_autocommit(self.connection)
        with self.outside():
            while True:
                steps = entry.steps if entry else steps_of()
                if steps is not None:
                    self._run_steps(entry or Entry(key, self._position, name, tuple(steps), -1))
                    return None
                written = Entry(key, self._position, name, (Step(name, undo=undo()),), 0)
                try:
                    return self._as_written(written, as_written, table, locks, patient=patient)
                except _NoLongerEmptyError:
                    continue
                except DBAPIError as error:
                    if not (in_block and sqlstate(error) == _NO_TRANSACTION_BLOCK):
                        raise
                    return self._without_transaction(written, as_written)

    def _without_transaction(self, entry: Entry, as_written: Callable[[], Any]) -> Any:
        """What cannot run inside a transaction, in the revision's own autocommit_block."""
        connection = self.connection
        begun = replace(entry, steps=(replace(entry.steps[0], kind=Kind.UNKNOWN),))
        with transaction(connection):
            self._record(begun, 0)
        with unhurried(connection), watch(connection, entry.says, self.pace):
            result = as_written()
        with transaction(connection):
            self._record(begun, 1)
        return result

    def _entry(self, key: str) -> Entry | None:
        entries = self._underway.entries if self._underway else []
        return next((entry for entry in entries if entry.key == key), None)

    def _as_written(
        self,
        entry: Entry,
        as_written: Callable[[], Any],
        table: tuple[str, str | None] | None,
        locks: Callable[[], Locks],
        *,
        patient: bool,
    ) -> Any:
        connection = self.connection

        def work(budget: float = self.pace.lock_timeout) -> Any:
            take_locks(connection, locks(), budget)
            if table is not None and self.short_way and not self.is_created(*table):
                self._lock_while_empty(*table)
            result = as_written()
            self._record(entry, 1)
            return result

        if patient:
            with unhurried(connection), watch(connection, entry.says, self.pace), transaction(connection):
                return work()
        new = table is not None and self.is_created(*table)
        return brief(connection, self.pace, entry.says, work, max_hold=not new)

    def _lock_while_empty(self, name: str, schema: str | None) -> None:
        """Lock a table that was found empty; raise where somebody has written to it since."""
        found = catalog.find_table(self.connection, name, schema)
        if found is None or found.oid not in self.touched.taken_for_empty:
            return
        take_locks(self.connection, ((found.sql, "ACCESS EXCLUSIVE"),), self.pace.lock_timeout)
        if not catalog.is_empty(self.connection, found):
            raise _NoLongerEmptyError

    def takes_short_way(self, table: Table) -> bool:
        return self.planning.takes_short_way(table)

    def _run_steps(self, entry: Entry) -> None:
        again = entry.done >= 0
        if not again:
            with transaction(self.connection):
                self._record(entry, 0)
        if entry.steps:
            log.info("%s", entry.steps[0].description if len(entry.steps) == 1 else entry.says)
        for number, step in enumerate(entry.steps):
            if number < entry.done:
                continue
            log.debug("%s", step.description)
            run_step(
                self.connection,
                self.pace,
                step,
                entry.says,
                partial(self._record, entry, number + 1),
                again=again and number == entry.done,
            )

    def _record(self, entry: Entry, done: int) -> None:
        if self._step is None:
            return
        if self._underway is None:
            self._underway = Underway(self.revision, self.direction, self._source_hash, "", None)
        self.ledger.write(self.connection, self._underway, entry, done)

    # -- where the statements go -----------------------------------------------------------------------

    @contextmanager
    def outside(self, *, abandon: bool = False) -> Iterator[None]:
        """Outside of Alembic's transaction, which is committed first, or rolled back to ``abandon`` it.

        An autocommit_block of the revision's stays as it is.
        """
        if self.offline:
            yield
            return
        if abandon and not in_autocommit(self.connection):
            self.listener.forget()
            # A COMMIT that follows finds nothing to commit.
            with suppress(DBAPIError):
                execute(self.connection, "ROLLBACK")
        with self.listener.hearing(hears=False):
            block = nullcontext() if in_autocommit(self.connection) else self.context.autocommit_block()
            with block:
                yield

    def _write_sql(self, steps: Sequence[Step] | None, as_written: Callable[[], Any]) -> Any:
        if steps is None:
            return as_written()
        output = self.context.impl
        for step in steps:
            output.static_output(f"-- {step.description}")
            statements = step.sql
            if step.fill:
                where = f" WHERE {step.fill.predicate}" if step.fill.predicate else ""
                statements = (f"UPDATE {step.fill.table} SET {step.fill.assignments}{where}",)
            if step.kind is Kind.OUTSIDE:
                with self.context.autocommit_block():
                    for statement in statements:
                        output.static_output(f"{statement};")
                continue
            for statement in statements:
                output.static_output(f"{statement};")
            output.emit_commit()
            output.emit_begin()
        return None

    def plain_operations(self) -> Operations:
        return self.planning.plain_operations()

    def compile(self, element: Any) -> str:
        return self.planning.compile(element)

    def in_savepoint(self) -> bool:
        return self.planning.in_savepoint()

    def name_of(self, element: Any) -> str:
        return self.planning.name_of(element)

    def warn(self, message: str) -> None:
        self.planning.warn(message)

    def has_added(self, table: str, *columns: str) -> bool:
        return self.planning.has_added(table, *columns)

    def is_created(self, name: str, schema: str | None) -> bool:
        return self.planning.is_created(name, schema)


def _refuse_unknown(entry: Entry) -> None:
    if entry.done == 0 and entry.steps[0].kind is Kind.UNKNOWN:
        raise CannotContinueError(
            f"nobody knows whether this was done, since it runs outside of transactions: {entry.says}. "
            "Look; then say so with `lockstep resolve --done` or `lockstep resolve --again`"
        )


class _NoLongerEmptyError(Exception):
    """A table was taken for empty, and somebody wrote to it."""


def _direction(step: RevisionStep) -> str:
    return "upgrade" if step.is_upgrade else "downgrade"
