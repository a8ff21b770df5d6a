"""Performing one operation: in the revision's transaction, or in steps of its own."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, sqlstate, transaction, unhurried
from lockstep.revision import privileges, together
from lockstep.revision.ledger import Entry
from lockstep.revision.listener import in_autocommit
from lockstep.revision.open_transaction import Interrupted, NeedsPlan, RunInSteps
from lockstep.revision.record import refuse_unknown
from lockstep.steps.alone import run_alone
from lockstep.steps.locks import RETRIED, brief, take_locks, watch
from lockstep.steps.run import Trace, explain, left_nothing, run_step
from lockstep.steps.step import IN_ONE_TRANSACTION, Kind, Step
from lockstep.steps.validated import refuse_taken_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lockstep.postgres.statements import Classified
    from lockstep.revision.open_transaction import OpenTransaction
    from lockstep.revision.planning import Planning
    from lockstep.revision.record import Record

    Locks = tuple[tuple[str, str], ...]

log = logging.getLogger("alembic.lockstep")

#: active_sql_transaction: VACUUM and its like.
_NO_TRANSACTION_BLOCK = "25001"

#: What CONCURRENTLY leaves where it fails: INVALID indexes, partitions that are about to be detached.
_UNFINISHED = """
SELECT ARRAY(SELECT indexrelid FROM pg_index WHERE NOT indisvalid
             UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhdetachpending ORDER BY 1)::text
"""


@dataclass(frozen=True)
class Work:
    """An operation to be performed.

    ``steps`` plans it (None: it runs as written), ``as_written`` runs what plain Alembic runs. ``table`` is
    locked first and looked at again where it was taken for empty. ``patient``: its locks make nobody wait, so
    it may wait for them; ``blocks``: others queue behind it, also where it cannot run in a transaction.
    ``undo`` gives what takes the operation back as written, asked before it runs. ``fingerprint`` tells it
    from another one of the same name. ``session``: its statements that set what lives as long as the session.
    ``shape``: its SQL without the values.
    """

    name: str
    as_written: Callable[[], Any]
    steps: Callable[[], Sequence[Step] | None]
    undo: Callable[[], tuple[str, ...] | None]
    locks: Callable[[], Locks] = tuple
    table: tuple[str, str | None] | None = None
    patient: bool = False
    blocks: bool = False
    fingerprint: Callable[[], str | None] = lambda: None
    session: Classified | None = None
    shape: str | None = None


class Performing:
    """How the operations of the revision at hand are performed."""

    def __init__(self, planning: Planning, transaction: OpenTransaction, record: Record) -> None:
        self._planning = planning
        self._transaction = transaction
        self._record = record

    def perform(self, work: Work) -> Any:
        """Run one operation. What an earlier transaction or process has committed of it is not done again."""
        listener = self._transaction.listener
        with listener.hearing(hears=False):
            listener.cut()
            self._refuse_role()
            key, position = self._record.begin(work.name)
            entry = self._record.find(key, work.fingerprint)
            if entry and entry.finished:
                log.info("%s: done before", work.name)
                if self._record.in_another_session:
                    self._set_again(work)
                return None
            if entry:
                refuse_unknown(entry)
                return self._apart(work, entry)
            self._record.refuse_other_values(work.name, work.shape)
            new = Entry(key, position, work.name, (), 0)
            if self._planning.in_savepoint():
                self._planning.warn(
                    f"{work.name}: inside a savepoint of the revision's own, so it runs as plain Alembic does"
                )
                with self._transaction.in_savepoint(patient=work.patient):
                    return self._inside(work, new)
            if not self._transaction.together or in_autocommit(self._planning.connection):
                return self._apart(work, new)
            try:
                return self._together(work, new)
            except Interrupted as error:
                raise RunInSteps(str(error)) from error
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                if (reason := self._transaction.interruption) is not None:
                    raise RunInSteps(reason) from error
                if sqlstate(error) in RETRIED:
                    raise RunInSteps(f"{work.name} did not get its locks") from error
                if self._planning.touched.unplanned:
                    raise NeedsPlan(f"{work.name} failed") from error
                raise

    def _set_again(self, work: Work) -> None:
        """What an operation sets for the session, in another one than it was run in."""
        if work.session is None:
            return
        self._transaction.listener.refuse_lost(work.session)
        for statement in work.session.statements:
            execute(self._planning.connection, statement.text)
        self._transaction.state.note(work.session)

    def _refuse_role(self) -> None:
        """Where the revision has set a role: raise if that may not write down what is done."""
        if (state := self._transaction.state).role_changed:
            state.role_changed = False
            if denied := privileges.refusal(self._planning.connection):
                raise LockstepError(denied)

    def _inside(self, work: Work, entry: Entry) -> Any:
        """As written, in the transaction that is open."""
        listener = self._transaction.listener
        undo = work.undo()
        if work.table is None:
            self._record.refuse_out_of_turn(work.name, undo)
        listener.made = []
        result = work.as_written()
        if work.session is not None:
            self._transaction.state.note(work.session)
        if undo is not None:
            undo = (*undo, *listener.made)
        # The plain SQL is rendered when it has to be written down, and that is seldom.
        self._record.note(
            replace(entry, steps=(Step(work.name, undo=undo, shape=work.shape),), done=1), work.fingerprint
        )
        return result

    def _together(self, work: Work, entry: Entry) -> Any:
        """In the revision's transaction, where nobody has to wait long for it; apart otherwise."""
        self._transaction.let_through()
        self._transaction.before_operation(patient=work.patient)
        touched = self._planning.touched
        touched.plans_small = self._transaction.plans_small
        try:
            steps = work.steps()
        finally:
            touched.plans_small = True
        if steps is not None and not together.are_quick(self._planning.connection, steps, self._table(work)):
            return self._apart(work, entry, steps)
        if steps is None or together.may_run_as_written(steps):
            with self._naming_rows(steps or ()), self._transaction.operating():
                together.remove_leftovers(self._planning.connection, steps or ())
                return self._inside(work, entry)
        with self._naming_rows(steps), self._transaction.operating():
            for step in steps:
                together.run(self._planning.connection, step)
        if steps:
            log.info("%s", work.name)
        self._record.note(replace(entry, steps=tuple(steps), done=len(steps)), work.fingerprint)
        return None

    @contextmanager
    def _naming_rows(self, steps: Sequence[Step]) -> Iterator[None]:
        """Where rows break a constraint, say which: asked once the lost transaction is rolled back."""
        try:
            yield
        except DBAPIError as error:
            if (sqlstate(error) or "").startswith("23"):
                self._transaction.roll_back()
                with suppress(DBAPIError), self._transaction.outside():
                    for step in steps:
                        explain(self._planning.connection, step, error)
            raise

    def _table(self, work: Work) -> catalog.Table | None:
        return work.table and catalog.find_table(self._planning.connection, *work.table)

    def _apart(self, work: Work, entry: Entry, planned: Sequence[Step] | None = None) -> Any:
        """In transactions of its own, written down with each."""
        connection = self._planning.connection
        in_block = in_autocommit(connection)
        with self._transaction.outside():
            while True:
                steps = entry.steps or planned or work.steps()
                if not entry.fingerprint:
                    entry.fingerprint = work.fingerprint()
                if steps is not None:
                    self._run_steps(replace(entry, steps=tuple(steps)), again=bool(entry.steps))
                    return None
                written = replace(entry, steps=(Step(work.name, undo=work.undo(), shape=work.shape),))
                if work.table is None:
                    self._record.refuse_out_of_turn(work.name, written.steps[0].undo)
                try:
                    return self._as_written(written, work)
                except _NoLongerEmptyError:
                    continue
                except DBAPIError as error:
                    if not (in_block and sqlstate(error) == _NO_TRANSACTION_BLOCK):
                        raise
                    return self._without_transaction(written, work)

    def _without_transaction(self, entry: Entry, work: Work) -> Any:
        """What cannot run inside a transaction, in the revision's own autocommit_block."""
        connection = self._planning.connection
        step = replace(entry.steps[0], kind=Kind.UNKNOWN)
        begun = replace(entry, steps=(step,))
        unfinished = catalog.scalar(connection, _UNFINISHED)
        with transaction(connection):
            self._record.write(connection, begun, 0)
        try:
            pace = self._planning.pace
            result = run_alone(connection, pace, entry.says, work.as_written, blocks=work.blocks)
            self._transaction.state.refuse_lost(connection)
        except (DBAPIError, LockstepError):
            with suppress(DBAPIError):  # where it is lost, nobody knows
                if catalog.scalar(connection, _UNFINISHED) == unfinished:
                    self._record.forget(connection, begun)
            raise
        with transaction(connection):
            self._record.write(connection, begun, 1)
        return result

    def _as_written(self, entry: Entry, work: Work) -> Any:
        connection, pace = self._planning.connection, self._planning.pace
        listener, state = self._transaction.listener, self._transaction.state
        held: dict[str, str | None] = {}

        def run() -> Any:
            listener.made = []
            state.defer_again(connection)
            if work.table is not None and self._planning.short_way:
                self._lock_while_empty(*work.table)
            result = work.as_written()
            undo = entry.steps[0].undo
            if undo is not None:
                undo = (*undo, *listener.made)
            done = replace(entry, steps=(replace(entry.steps[0], undo=undo),))
            state.refuse_lost(connection)
            self._record.write(connection, done, 1)
            if work.session is not None:
                state.note(work.session)
                held.update(state.before_commit(connection))
            return result

        if work.patient:
            with unhurried(connection), watch(connection, entry.says, pace), transaction(connection):
                take_locks(connection, work.locks(), pace.lock_timeout)
                result = run()
        else:
            new = work.table is not None and self._planning.is_created(*work.table)
            result = brief(connection, pace, entry.says, run, locks=work.locks(), max_hold=not new)
        state.after_commit(connection, held)
        return result

    def _lock_while_empty(self, name: str, schema: str | None) -> None:
        """Lock a table that was found empty; raise where somebody has written to it since."""
        if self._planning.is_created(name, schema):
            return
        connection = self._planning.connection
        found = catalog.find_table(connection, name, schema)
        if found is None or found.oid not in self._planning.touched.taken_for_empty:
            return
        take_locks(connection, ((found.sql, "ACCESS EXCLUSIVE"),), self._planning.pace.lock_timeout)
        if not catalog.is_empty(connection, found):
            self._planning.touched.taken_for_empty.discard(found.oid)
            raise _NoLongerEmptyError

    def _run_steps(self, entry: Entry, *, again: bool) -> None:
        connection = self._planning.connection
        if not again:
            refuse_taken_names(connection, entry.steps)
        if not again and not (entry.steps and entry.steps[0].kind in IN_ONE_TRANSACTION):
            with transaction(connection):
                self._record.write(connection, entry, 0)
        if entry.steps:
            log.info("%s", entry.steps[0].description if len(entry.steps) == 1 else entry.says)
        for number, step in enumerate(entry.steps):
            if number < entry.done:
                continue
            log.debug("%s", step.description)
            trace = Trace()
            try:
                run_step(
                    connection,
                    self._planning.pace,
                    step,
                    entry.says,
                    partial(self._record.write, connection, entry, number + 1),
                    again=again and number == entry.done,
                    trace=trace,
                )
            except Exception:
                if all(earlier.does_nothing for earlier in entry.steps[:number]):
                    with suppress(DBAPIError):  # where it is lost, nobody knows
                        if left_nothing(connection, step, trace):
                            self._record.forget(connection, entry)
                raise


def write_sql(planning: Planning, work: Work) -> Any:
    """An operation in --sql mode: its steps as a script, or what plain Alembic writes."""
    steps = work.steps()
    if steps is None:
        return work.as_written()
    output = planning.context.impl
    for step in steps:
        output.static_output(f"-- {step.description}")
        statements = step.sql
        if step.fill:
            where = f" WHERE {step.fill.predicate}" if step.fill.predicate else ""
            statements = (f"UPDATE {step.fill.table} SET {step.fill.assignments}{where}",)
        if step.kind is Kind.OUTSIDE:
            with planning.context.autocommit_block():
                for statement in statements:
                    output.static_output(f"{statement};")
            continue
        for statement in statements:
            output.static_output(f"{statement};")
        output.emit_commit()
        output.emit_begin()
    return None


class _NoLongerEmptyError(Exception):
    """A table was taken for empty, and somebody wrote to it."""
