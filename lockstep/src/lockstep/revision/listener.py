"""Hearing what a revision's own code sends through ``op.get_bind()``, to write it down or to answer it."""

from __future__ import annotations

import re
import sys
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lockstep.errors import CannotContinueError, LockstepError
from lockstep.postgres.functions import makes_nobody_wait
from lockstep.postgres.heavy import refuse_heavy
from lockstep.postgres.session import sqlstate
from lockstep.postgres.statements import StatementKind, classify
from lockstep.revision import made
from lockstep.revision.journal import Journal, Sent
from lockstep.revision.session_state import refuse_reset
from lockstep.revision.together import large_table
from lockstep.scopes import is_plain
from lockstep.steps.locks import RETRIED
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.postgres.statements import Classified
    from lockstep.postgres.syntax import CreatedObject
    from lockstep.revision.planning import Planning
    from lockstep.revision.record import Record
    from lockstep.revision.session_state import SessionState

#: How Alembic writes its version table.
_WRITES = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) ")

#: Answers a statement that is not to be run.
_NOTHING = "SELECT FROM generate_series(1, 0)"


class Listener:
    """Tells a revision's own statements from Lockstep's, on one connection.

    ``check`` is called before every statement, ``before_own`` before one of the revision's own that is run,
    ``limit`` with the lock_timeout that it has, ``committing`` before a commit, whoever's, ``look`` before a
    statement of Lockstep's or of an operation.
    """

    def __init__(
        self,
        lock_timeout: float,
        check: Callable[[], None],
        before_own: Callable[[], None],
        limit: Callable[[str], None],
        committing: Callable[[], None],
        look: Callable[[str], None],
    ) -> None:
        self._look = look
        self._lock_timeout = lock_timeout
        self._committing = committing
        self._check = check
        self._before_own = before_own
        self._limit = limit
        self._journal = Journal()
        self._record: Record | None = None
        self._state: SessionState | None = None
        self._made_before: frozenset[str] = frozenset()
        self._hears = False
        self._answered = False
        self._there: frozenset[CreatedObject] = frozenset()
        """What the statement at hand would create, and is there."""
        self._lifted: str | None = None
        """The session's lock_timeout, where another one holds for the statement at hand."""
        self.planning: Planning | None = None
        """What is known of the revision at hand."""
        self.asyncpg = False
        """Whether the project runs on asyncpg, which leaves a ``%`` of a driver's own statement alone."""
        self.timed_out = False
        """Whether the statement that failed was the revision's own, under a lock_timeout."""
        self.refused: LockstepError | None = None
        """Why a statement of the revision's own was refused, whatever its code makes of that."""
        self.together_with: str | None = None
        """What is sent in one statement with the next one that writes the version table."""
        self.lost_lock = False
        """Whether a statement in a savepoint did not get its lock: the revision may not take another path."""
        self.made: list[str] = []
        """What takes back the types that the operation at hand has made on the way, the last one first."""

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Listen on a connection, which may be somebody else's."""
        hooks: list[tuple[str, Any, dict[str, bool]]] = [
            ("before_cursor_execute", self._before, {"retval": True}),
            ("after_cursor_execute", self._after, {}),
            ("commit", self._before_commit, {}),
            ("savepoint", self._savepoint, {}),
            ("rollback_savepoint", self._rollback_savepoint, {}),
        ]
        for name, hook, options in hooks:
            sa.event.listen(connection, name, hook, **options)
        try:
            yield
        finally:
            for name, hook, _ in hooks:
                sa.event.remove(connection, name, hook)

    def start(self, record: Record, state: SessionState) -> None:
        """Begin a run of the revision's code, with what earlier runs of it committed."""
        self._record, self._state = record, state
        self._journal.start(record.journal, record.way_out)
        self._made_before = frozenset(
            statement
            for entry in record.entries
            for step in entry.steps
            for statement in step.undo or ()
            if statement.startswith("DROP TYPE")
        )
        self.timed_out = self.lost_lock = False
        self.refused = None
        self.made = []

    def forget(self) -> None:
        """Drop what was heard and not written: it was rolled back, or goes with the version table."""
        self._journal.pending = []
        if self._record is not None:
            self._record.drop_pending()

    @contextmanager
    def hearing(self, *, hears: bool) -> Iterator[None]:
        """Whether what is sent in the block is the revision's own."""
        before, self._hears = self._hears, hears
        try:
            yield
        finally:
            self._hears = before

    def _before(
        self,
        connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> tuple[str, Any]:
        self._check()
        self._lift(connection, statement)
        if self._state is not None:
            statement = self._state.lasting(statement)
        if not self._hears:
            if self.together_with is not None and _WRITES.match(statement):
                also, self.together_with = self.together_with, None
                return f"WITH lockstep_applied AS ({also}) {statement}", parameters
            self._look(statement)
            if self._made_before and made.type_undo(connection, statement) in self._made_before:
                return _NOTHING, parameters
            return statement, parameters
        if _about_savepoints(statement):
            return statement, parameters
        with self.hearing(hears=False), self._refusing():
            classified = classify(statement)
            refuse_reset(classified)
            if self.planning is not None:
                self.planning.note_written(classified)
            self._answered = False
            if not _is_setting(classified):
                answer = self._journal.answer(connection, statement, reads=_reads(classified))
                self._answered = answer is not None
                if answer is not None:
                    self.refuse_lost(classified)
                    if self._state is not None:
                        self._state.note_temporary(classified)
                    return answer, [()] if many else ()
            self._prepare(connection, classified)
            self._there = made.already_there(connection, classified)
        if self.asyncpg and not parameters and context is not None and context.compiled is None:
            return statement.replace("%", "%%"), parameters
        return statement, parameters

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except LockstepError as error:
            self.refused = error
            raise

    def _prepare(self, connection: Connection, classified: Classified) -> None:
        """Let go of what others need, and wait only so long where waiting makes others wait. Refuse what
        would hold a lock for long.
        """
        if not is_plain() and self.planning is not None:
            name = " ".join(classified.statements[0].text.split())[:60] if classified.statements else ""
            refuse_heavy(connection, name, classified, partial(large_table, self.planning))
        patient = is_plain() or makes_nobody_wait(connection, classified)
        if in_autocommit(connection):
            if not patient and not classified.waits_for_transactions:
                self._limit_session(connection)
                self.timed_out = True
            return
        if not is_plain() and not connection.in_nested_transaction():
            self._before_own()
        self._limit("0" if patient else f"{round(self._lock_timeout * 1000)}ms")
        self.timed_out = True

    def _limit_session(self, connection: Connection) -> None:
        """As ``limit``, where there is no transaction: until the next statement, see ``_lift``."""
        with closing(connection.connection.cursor()) as another:
            another.execute("SELECT current_setting('lock_timeout')")
            self._lifted = str((another.fetchone() or ("0",))[0])
            another.execute(f"SET lock_timeout = '{round(self._lock_timeout * 1000)}ms'")

    def _lift(self, connection: Connection, statement: str) -> None:
        """The session's own lock_timeout again; a ROLLBACK would take it away."""
        if self._lifted is not None and statement != "ROLLBACK":
            lifted, self._lifted = self._lifted, None
            with closing(connection.connection.cursor()) as another:
                another.execute(f"SET lock_timeout = '{lifted}'")

    def refuse_lost(self, classified: Classified) -> None:
        """Raise for a temporary table that was made in a session that is gone."""
        lost = [one.name for one in classified.creates if one.temporary]
        if lost and self._record is not None and self._record.in_another_session:
            raise CannotContinueError(
                f"the revision works with a temporary table ({', '.join(lost)}), and the session that had it "
                "is gone: it cannot go on from where it stopped. Take back what was done with `alembic "
                "downgrade`, then upgrade again"
            )

    def _after(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        _parameters: Any,
        _context: Any,
        _many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> None:
        if not self._hears:
            if undo := made.type_undo(connection, statement):
                self.made.insert(0, undo)
            return
        if _about_savepoints(statement):
            return
        self.timed_out = False
        if self._answered:
            return
        with self.hearing(hears=False):
            classified = classify(statement)
            if self._state is not None:
                self._state.note(classified)
            if _is_setting(classified):
                return
            temporary = self._state.temporary if self._state is not None else set()
            undo_all = made.undo_of(connection, classified, temporary, self._there)
            if in_autocommit(connection) and self._state is not None:
                self._state.refuse_lost(connection)
        self._journal.pending.append(Sent(statement, cursor, reads=_reads(classified), undo=undo_all))
        if in_autocommit(connection):
            self.write(connection)

    def cut(self) -> None:
        """What was heard so far is one entry: something else follows it."""
        sent, self._journal.pending = self._journal.pending, []
        if not sent or self._record is None:
            return
        undo: tuple[str, ...] | None = ()
        for one in reversed(sent):
            undo = None if undo is None or one.undo is None else (*undo, *one.undo)
        journal = tuple(one.to_json() for one in sent)
        self._record.note_statements(
            Step("the revision's own statements", journal=journal, undo=undo), self._record.segments + 1
        )

    def write(self, connection: Connection) -> None:
        """Write down what is done, in the transaction that it is about."""
        with self.hearing(hears=False):
            self.cut()
            if self._record is not None:
                self._record.flush(connection)

    def _before_commit(self, connection: Connection) -> None:
        self._committing()
        if self._hears and self._state is not None:  # the revision's own commit: what it set for the
            with self.hearing(hears=False):  # transaction ends with it
                self._state.end_of_transaction(connection)
        self.write(connection)

    def _savepoint(self, _connection: Connection, name: str | None) -> None:
        if self._record is not None and self._hears:
            self._record.savepoint(str(name))

    def _rollback_savepoint(self, _connection: Connection, name: str, _context: None) -> None:
        error = sys.exc_info()[1]
        self.lost_lock |= self.timed_out and error is not None and sqlstate(error) in RETRIED
        if self._record is not None and self._hears:
            self._record.rollback_to(name)


def in_autocommit(connection: Connection) -> bool:
    """Whether the driver's connection is in autocommit mode, as in an autocommit_block."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _is_setting(classified: Classified) -> bool:
    """Whether statements only set what lives as long as the session: they are run each time."""
    return classified.kinds == {StatementKind.SESSION} and not classified.creates


def _reads(classified: Classified) -> bool:
    return classified.kinds <= {StatementKind.READS}


def _about_savepoints(statement: str) -> bool:
    """Whether a statement is begin_nested()'s: it changes nothing, and goes through where others fail."""
    return statement.split(maxsplit=1)[:1] in (["SAVEPOINT"], ["ROLLBACK"], ["RELEASE"])
