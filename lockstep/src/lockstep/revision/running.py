"""Running a revision's function, from where an earlier run of it stopped."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, InvalidRequestError

from lockstep import private_names
from lockstep.errors import LockstepError
from lockstep.postgres.session import loss_of, sqlstate, transaction
from lockstep.revision.open_transaction import Interrupted, NeedsPlan, RunInSteps
from lockstep.revision.undo import can_undo, did_nothing
from lockstep.steps.locks import RETRIED, pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from lockstep.revision.open_transaction import OpenTransaction
    from lockstep.revision.planning import Planning
    from lockstep.revision.record import Record

log = logging.getLogger("alembic.lockstep")


class Running:
    """One revision's function, run until it is through or fails."""

    def __init__(
        self,
        planning: Planning,
        open_transaction: OpenTransaction,
        record: Record,
    ) -> None:
        self._planning = planning
        self._transaction = open_transaction
        self._record = record

    def run(self, function: Callable[..., None], *, together: bool, **arguments: Any) -> None:
        """Run the function; again from its start where it has to run in steps, or where a statement of its
        own does not get its lock. What is committed is not done twice.
        """
        started = time.monotonic()
        attempt = 0
        plans_small = False
        while True:
            self._restart(together=together, plans_small=plans_small)
            try:
                self._once(function, **arguments)
            except NeedsPlan as stop:
                self._again(f"{stop}: the revision runs again with all its plans", level=logging.DEBUG)
                plans_small = True
            except (RunInSteps, Interrupted) as stop:
                if not together:
                    if self._is_over(started):
                        raise LockstepError(f"{stop}: gave up") from stop
                    pause(attempt)
                    attempt += 1
                self._again(f"{stop}: the revision is run in steps")
                together = False
            except Exception as error:
                if loss_of(error) is not None:  # nothing can be asked or written any more
                    raise
                if together and (reason := self._transaction.interruption) is not None:
                    self._again(f"{reason}: the revision is run in steps")
                    together = False
                    continue
                if not self._may_try_again(error, started):
                    self._stopped(error)
                    raise
                self._again("the revision's own statement did not get its lock; trying again")
                together = False
                pause(attempt)
                attempt += 1
            else:
                return

    def _may_try_again(self, error: Exception, started: float) -> bool:
        return (
            isinstance(error, DBAPIError)
            and self._transaction.listener.timed_out
            and sqlstate(error) in RETRIED
            and not self._is_over(started)
        )

    def _is_over(self, started: float) -> bool:
        impatient = self._planning.pace.give_up_after
        return impatient is not None and time.monotonic() - started > impatient

    def _restart(self, *, together: bool, plans_small: bool) -> None:
        self._planning.touched.clear()
        self._record.restart()
        self._transaction.start(together=together, plans_small=plans_small)
        self._transaction.listener.start(self._record, self._transaction.state)

    def _once(self, function: Callable[..., None], **arguments: Any) -> None:
        with self._transaction.listener.hearing(hears=True):
            function(**arguments)
        with self._transaction.listener.hearing(hears=False):
            self._record.refuse_left_out()
            # What it did last is committed together with the version table: nothing to write down.
            self._transaction.end()

    def _again(self, reason: str, *, level: int = logging.INFO) -> None:
        log.log(level, "%s", reason)
        self._transaction.roll_back()
        with self._transaction.listener.hearing(hears=False):
            with self._transaction.outside():
                self._record.read(self._planning.connection)
            # It may have gone with the transaction that Alembic made it in.
            private_names.ensure_version_table(self._planning.context)

    def _stopped(self, error: Exception) -> None:
        """Keep why a half-done revision stopped, and say what can be done."""
        self._transaction.roll_back()
        if not self._record.is_written:
            return
        connection = self._planning.connection
        # InvalidRequestError: the revision's code has ended Alembic's transaction before it raised.
        with suppress(DBAPIError, InvalidRequestError), self._transaction.outside():
            self._record.read(connection)
            self._transaction.state.end_of_transaction(connection)
            if self._record.committed is None:
                return
            if did_nothing(self._record.committed):
                with transaction(connection):
                    self._record.finish(connection)
                return
            with transaction(connection):
                reason = str(getattr(error, "orig", error)).strip()
                self._record.ledger.fail(connection, self._record.revision, reason)
        if (underway := self._record.committed) is not None:
            log.warning("%s", what_can_be_done(underway))


def what_can_be_done(underway: Any) -> str:
    """The ways on from a half-done revision, those that there are."""
    begun = (
        f"revision {underway.revision} stopped half way; what it did so far stays, and the service can go "
        "on. "
    )
    if underway.direction == "downgrade":
        return begun + (
            "Downgrade again to continue it, or upgrade: that finishes it and goes up again. The last resort "
            "is `lockstep abandon`"
        )
    if can_undo(underway):
        return begun + (
            "Upgrade again to continue it once what stopped it is put right (in the data, or in the part of "
            "its file that did not run yet), or downgrade to take it back"
        )
    return begun + (
        "Upgrade again to continue it once what stopped it is put right (in the data, or in the part of its "
        "file that did not run yet). It did what cannot be taken back step by step: a downgrade finishes it "
        "first, and stops at the same place until then. The last resort is `lockstep abandon`"
    )
