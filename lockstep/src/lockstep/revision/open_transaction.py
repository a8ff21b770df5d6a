"""The transaction that a revision runs in: what is done in it, and when it is committed before the end.

A revision is one transaction, exactly as plain Alembic's, for as long as nothing in it takes long and nobody
waits for it (docs/decisions/one-transaction.md).
"""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError

from lockstep import private_names
from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, set_lock_timeout
from lockstep.postgres.table_locks import holders, locks_of
from lockstep.revision.listener import Listener, in_autocommit
from lockstep.revision.session_state import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.revision.watcher import Watcher
    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")

#: How long an operation waits for its lock while it shares a transaction: whoever comes after it waits, too.
LOCK_TIMEOUT = "4ms"

#: Statements that take no lock which blocks others.
_HARMLESS = {"SELECT", "SAVEPO", "ROLLBA", "RELEAS", "SET LO", "SET CO"}

_SOMEBODY_WAITS = """
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()
               AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))
"""


class RunInSteps(BaseException):  # not an error, and not to be caught by a revision's `except Exception`
    """Somebody waited for the revision's transaction, or it did not get a lock: it was rolled back, and the
    revision runs again from its start, each operation in transactions of its own.
    """


class NeedsPlan(BaseException):  # as above
    """An operation that ran without a plan, on a small table, failed: the transaction was rolled back, and
    the revision runs again from its start with all plans, which may know a way, or say more.
    """


class Interrupted(Exception):  # noqa: N818  # as above
    """As RunInSteps, raised while a statement is sent: SQLAlchemy would give up the connection for a
    BaseException there.
    """


class OpenTransaction:
    """The transaction of the revision at hand, on the connection of Alembic's context."""

    def __init__(self, pace: Pace) -> None:
        self.together = False
        """Whether operations share the transaction, or each runs in transactions of its own."""
        self.context: MigrationContext
        self.watcher: Watcher | None = None
        self.state = SessionState()
        self.listener = Listener(
            pace.lock_timeout, self.check, self.before_own_code, self.limit, self._committing, self._look
        )
        self.plans_small = False
        """Whether operations on small tables are planned as well."""
        self._limit: str | None = None
        """The lock_timeout that was set for this transaction."""
        self._holds = False
        self._looks = False
        self._interrupted: str | None = None
        self._failed: BaseException | None = None

    @property
    def connection(self) -> Connection:
        found = self.context.connection
        if found is None:  # pragma: no cover - only in --sql mode, where nothing asks
            raise LockstepError("there is no connection in --sql mode")
        return found

    def start(self, *, together: bool, plans_small: bool = True) -> None:
        """A revision's function runs from its start."""
        self.together = together
        self.plans_small = plans_small
        self.state = SessionState()
        self._new_transaction()
        self._interrupted = None
        self._failed = None
        if self.watcher is not None:
            self.watcher.rest()
            self.watcher.broken = False

    def check(self) -> None:
        """Raise Interrupted where the transaction was broken off for somebody who waited, or has to be."""
        if self.together and self.interruption is not None:
            raise Interrupted(self.interruption)
        if self.listener.lost_lock:
            raise Interrupted("a statement in a savepoint did not get its lock")

    @property
    def interruption(self) -> str | None:
        """Why the revision has to run in steps; a revision's `except Exception` does not make it untrue."""
        if self.watcher is not None and self.watcher.broken:
            return "somebody waited for it"
        return self._interrupted

    def note_failure(self, error: BaseException) -> None:
        """An operation failed, and the revision's code may catch that. In plain Alembic's transaction
        PostgreSQL would refuse all that follows; and what Lockstep refuses, plain Alembic would have done.
        """
        if isinstance(error, DBAPIError):
            counts = not (
                error.connection_invalidated
                or in_autocommit(self.connection)
                or self.connection.in_nested_transaction()
            )
        else:
            counts = isinstance(error, LockstepError | RunInSteps | NeedsPlan)
        if counts and self._failed is None:
            self._failed = error

    def refuse_after_failure(self) -> None:
        """Raise what failed before, where the revision's code has caught it and goes on."""
        failed = self._failed or self.listener.refused
        if failed is not None:
            raise failed
        driver: Any = self.connection.connection.dbapi_connection
        if driver.info.transaction_status == TransactionStatus.INERROR:
            execute(self.connection, "SELECT 1")  # raises, as all that follows does

    def let_through(self) -> None:
        """Before an operation: commit what stands if somebody waits for it."""
        self.check()
        if not self._holds:
            return
        if self.watcher is not None and self.watcher.sees:
            waits = self.watcher.somebody_waits
        else:
            waits = bool(catalog.scalar(self.connection, _SOMEBODY_WAITS))
        if waits:
            log.info("somebody waits for what the revision has locked: committing what stands")
            self.commit()

    def before_own_code(self) -> None:
        """Before a statement of the revision's own, which may take any time: hold nothing that others use."""
        if not (self.together and self._holds):
            self._watch()
            return
        self._holds = False
        if self.watcher is None or self.watcher.in_the_way():
            log.debug("others use what the revision has locked: committing what stands")
            self.commit()
        self._watch()

    def before_operation(self, *, patient: bool) -> None:
        """An operation is about to run in the transaction."""
        if patient:
            self.before_own_code()
            self.limit("0")
            return
        self.limit(LOCK_TIMEOUT)
        self._watch()
        self._holds = True

    @contextmanager
    def in_savepoint(self, *, patient: bool) -> Iterator[None]:
        """An operation inside a savepoint of the revision's own: it does not queue either."""
        self.limit("0" if patient else LOCK_TIMEOUT)
        self.listener.timed_out = True
        yield
        self.listener.timed_out = False

    def limit(self, lock_timeout: str) -> None:
        """How long the statements that follow wait for their locks. While nobody else is connected there is
        nobody to wait for, and nobody who waits.

        Over the driver's own cursor: SQLAlchemy may be about to send one of the server's (yield_per).
        """
        if self._limit is None and self._is_alone():
            return
        with closing(self.connection.connection.cursor()) as another:
            another.execute(f"SET LOCAL lock_timeout = '{lock_timeout}'")
        self._limit = lock_timeout

    def _new_transaction(self) -> None:
        self._limit = None
        self._holds = False

    @contextmanager
    def operating(self) -> Iterator[None]:
        """While the statements of the block are sent, nobody else may be in the way of their locks."""
        self._looks = self.together
        try:
            yield
        finally:
            self._looks = False

    def _look(self, statement: str) -> None:
        """Before a statement of an operation: raise Interrupted rather than queue behind somebody.

        An autovacuum worker is made to let go, which blocks no reader and no writer.
        """
        if not self._looks or statement.lstrip()[:6].upper() in _HARMLESS or self._is_alone():
            return
        wanted = locks_of(statement)
        for holder in holders(self.connection, wanted) if wanted else ():
            if not holder.is_autovacuum or holder.prevents_wraparound:
                self._interrupted = f"a lock on {holder.table} is taken (pid {holder.pid})"
                raise Interrupted(self._interrupted)
            self._looks = False
            log.info("waiting for pid %s (autovacuum) on %s, made to let go", holder.pid, holder.table)
            set_lock_timeout(self.connection, 3)
            execute(self.connection, f"LOCK TABLE {holder.table} IN SHARE UPDATE EXCLUSIVE MODE")
            self.limit(LOCK_TIMEOUT)
            self._looks = True

    def _is_alone(self) -> bool:
        """Whether nobody else is connected, so that there is nobody to queue behind or to keep waiting."""
        return self.watcher is not None and self.watcher.is_alone()

    def _watch(self) -> None:
        if self.together and self.watcher is not None:
            self.watcher.watch()

    def commit(self) -> None:
        """Commit what stands, with what is to be written down of it, and go on in a new transaction."""
        connection = self.connection
        if connection.in_nested_transaction():
            return
        self._rest()
        self.check()
        held = self.state.before_commit(connection)
        self.listener.write(connection)
        connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
        self._new_transaction()
        self.state.after_commit(connection, held)
        self.state.defer_again(connection)

    def _committing(self) -> None:
        """Whoever commits: nothing may be broken off any more, and nothing may have been."""
        self._rest()
        self.check()
        self._new_transaction()

    def _rest(self) -> None:
        if self.watcher is not None:
            self.watcher.rest()

    def end(self) -> None:
        """The revision's function is done: what is written down goes with the version table."""
        self.refuse_after_failure()
        self._rest()
        self.check()
        self.state.refuse_lost(self.connection)
        self.listener.forget()
        self.together = False
        private_names.adopt_transaction(self.context)
        self.state.end_of_transaction(self.connection)
        self.state.restore(self.connection)

    def roll_back(self) -> None:
        """Roll back what is not committed, with what was to be written down of it."""
        self._rest()
        self.together = self.listener.lost_lock = False
        self.listener.forget()
        # A COMMIT that follows finds nothing to commit.
        with self.listener.hearing(hears=False), suppress(DBAPIError):
            if not in_autocommit(self.connection):
                execute(self.connection, "ROLLBACK")
        private_names.forget_made_types(self.context)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Outside of Alembic's transaction, which is committed first, with what is to be written down of it.

        An autocommit_block of the revision's stays as it is.
        """
        with self.listener.hearing(hears=False):
            if in_autocommit(self.connection):
                yield
                return
            private_names.adopt_transaction(self.context)
            self._rest()
            self.check()
            held = self.state.before_commit(self.connection)
            together, self.together = self.together, False
            try:
                with self.context.autocommit_block():
                    self.state.after_commit(self.connection, held)
                    yield
            finally:
                self.together = together
                self._new_transaction()
            self.state.defer_again(self.connection)
