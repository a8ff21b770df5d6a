"""Hearing what a revision's own code sends through ``op.get_bind()``, to write it down or to answer it."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lockstep.postgres import catalog
from lockstep.postgres.statements import classify
from lockstep.revision.journal import Journal
from lockstep.scopes import is_plain
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection


class Listener:
    """Tells a revision's own statements from Lockstep's, on one connection.

    ``write`` is called in the transaction of what the revision sent, with the step that stands for it.
    """

    def __init__(self, lock_timeout: float, write: Callable[[Step], None]) -> None:
        self._lock_timeout = lock_timeout
        self._write = write
        self._journal = Journal()
        self._hears = False
        self._answered = False
        self.timed_out = False
        """Whether the statement that failed was the revision's own, under a lock_timeout."""

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Listen on a connection, which may be somebody else's."""
        hooks: list[tuple[str, Any, dict[str, bool]]] = [
            ("before_cursor_execute", self._before, {"retval": True}),
            ("after_cursor_execute", self._after, {}),
            ("commit", self._before_commit, {}),
        ]
        for name, hook, options in hooks:
            sa.event.listen(connection, name, hook, **options)
        try:
            yield
        finally:
            for name, hook, _ in hooks:
                sa.event.remove(connection, name, hook)

    def start(self, entries_journal: list[dict[str, Any]]) -> None:
        """Begin a run of the revision's code, with what earlier runs of it committed."""
        self._journal.start(entries_journal)
        self.timed_out = False

    def forget(self) -> None:
        """Drop what was heard and not written: it was rolled back, or goes with the version table."""
        self._journal.pending = []

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
        _context: Any,
        many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> tuple[str, Any]:
        if not self._hears or is_plain() or _about_savepoints(statement):
            return statement, parameters
        with self.hearing(hears=False):
            answer = self._journal.answer(connection, statement)
            self._answered = answer is not None
            if answer is not None:
                return answer, [()] if many else ()
            if not in_autocommit(connection):
                # In a savepoint the revision may take a lock not had for another error, and go on without.
                patient = classify(statement).only_rows or connection.in_nested_transaction()
                limit = 0 if patient else round(self._lock_timeout * 1000)
                # The statement's own cursor may be one of the server's (yield_per), which cannot do this.
                with closing(connection.connection.cursor()) as another:
                    another.execute(f"SET LOCAL lock_timeout = {limit}")
                self.timed_out = True
        return statement, parameters

    def _after(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        _parameters: Any,
        _context: Any,
        _many: bool,  # noqa: FBT001  # SQLAlchemy's signature
    ) -> None:
        if not self._hears or is_plain() or _about_savepoints(statement):
            return
        self.timed_out = False
        if self._answered:
            return
        self._journal.note(statement, cursor)
        if in_autocommit(connection):
            self._before_commit(connection)

    def _before_commit(self, connection: Connection) -> None:
        """Write the journal down in the transaction that it is about."""
        if not self._journal.pending:
            return
        with self.hearing(hears=False):
            wrote = catalog.scalar(connection, "SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
            journal = tuple(self._journal.pending)
            self.forget()
            self._write(Step("the revision's own statements", journal=journal, undo=None if wrote else ()))


def in_autocommit(connection: Connection) -> bool:
    """Whether the driver's connection is in autocommit mode, as in an autocommit_block."""
    return bool(getattr(connection.connection.dbapi_connection, "autocommit", False))


def _about_savepoints(statement: str) -> bool:
    """Whether a statement is begin_nested()'s: it changes nothing, and goes through where others fail."""
    return statement.split(maxsplit=1)[:1] in (["SAVEPOINT"], ["ROLLBACK"], ["RELEASE"])
