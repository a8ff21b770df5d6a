"""What the revision at hand has done: the operations that are committed, and those that are not yet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from lockstep.errors import CannotContinueError
from lockstep.postgres.session import transaction
from lockstep.revision.ledger import Entry, Underway
from lockstep.revision.undo import can_undo
from lockstep.steps.step import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Ledger
    from lockstep.steps.step import Step


#: With what the names begin of operations that come after a revision's own, by ``archive.restore``: what was
#: given back is not asked for again, and no file has it.
_OF_NO_FILE = ("give back ", "keep ")


class Record:
    """The ledger's entry of one revision, and what is to be written to it when the transaction is committed.

    A revision that is one transaction to its end never writes any of it.
    """

    def __init__(self, ledger: Ledger, revision: str, direction: str, source_hash: str) -> None:
        self.ledger = ledger
        self.revision = revision
        self.source_hash = source_hash
        self.committed: Underway | None = None
        """What an earlier transaction, or process, has written down."""
        self.in_another_session = False
        """Whether what is written down was done by a process that is gone."""
        self._new = Underway(revision, direction, source_hash, "", None)
        self._pending: list[tuple[Entry, Callable[[], str | None]]] = []
        self._wrote = False
        self._seen: set[str] = set()
        self._occurrences: Counter[str] = Counter()
        self._position = 0
        self._segments = 0
        """How many entries of the revision's own statements are committed."""
        self._savepoints: list[tuple[str, int]] = []

    def read(self, connection: Connection) -> None:
        """Read what is committed, where a transaction was rolled back."""
        self.ledger.rolled_back()
        self.committed = self.ledger.read(connection, self.revision)
        self._wrote = False

    def restart(self) -> None:
        """The revision's function runs again from its start."""
        self._pending.clear()
        self._seen.clear()
        self._occurrences.clear()
        self._savepoints.clear()
        self._position = max((entry.position for entry in self.entries), default=0)
        self._segments = sum(_is_journal(entry) for entry in self.entries)

    @property
    def is_written(self) -> bool:
        """Whether the ledger has an entry of this revision."""
        return self._wrote or self.committed is not None

    @property
    def entries(self) -> list[Entry]:
        return self.committed.entries if self.committed else []

    @property
    def journal(self) -> list[dict[str, Any]]:
        """What the revision's own code sent and an earlier transaction committed."""
        return [line for entry in self.entries for step in entry.steps for line in step.journal]

    def begin(self, name: str) -> tuple[str, int]:
        """The key of an operation that comes now, and its position."""
        self._occurrences[name] += 1
        self._position += 1
        key = f"{name} #{self._occurrences[name]}"
        self._seen.add(key)
        return key, self._position

    def find(self, key: str, fingerprint: Callable[[], str | None] | None = None) -> Entry | None:
        """The operation as it was written down before. Raises CannotContinueError where it is another one."""
        found = next((entry for entry in self.entries if entry.key == key), None)
        if found and found.fingerprint and fingerprint and self._file_was_changed:
            now = fingerprint()
            if now is not None and now != found.fingerprint:
                if not found.steps:
                    return None
                raise CannotContinueError(
                    f"{found.says}: this operation was done before the file of revision {self.revision} was "
                    f"changed, and is another one now. Let it be as it was, or {self.way_out}"
                )
        return found

    @property
    def _file_was_changed(self) -> bool:
        return self.committed is not None and self.committed.source_hash != self.source_hash

    @property
    def way_out(self) -> str:
        """What is left where a corrected file does not repeat what was done."""
        if self.committed is not None and not can_undo(self.committed):
            return "forget the revision with `lockstep abandon`: not all that was done can be taken back"
        return "`alembic downgrade` to take back what was done"

    def _left_out(self) -> str:
        """The operations that were done before and that a corrected file has not come to, or lacks."""
        if not self._file_was_changed:
            return ""
        done = [entry for entry in self.entries if entry.steps and not _is_journal(entry)]
        return ", ".join(
            entry.says
            for entry in done
            if entry.key not in self._seen and not entry.key.startswith(_OF_NO_FILE)
        )

    def refuse_left_out(self) -> None:
        """Raise where a corrected file leaves out an operation that was done before."""
        if left_out := self._left_out():
            raise CannotContinueError(
                f"the file of revision {self.revision} was changed, and what was done before is not in it "
                f"now: {left_out}. Put it back, or {self.way_out}"
            )

    def refuse_other_values(self, says: str, shape: str | None) -> None:
        """Raise where SQL of the revision's own, of that shape, was done with other values, and has not come
        this time: Python gives them anew each time (a random id, the time), and it would be done twice.
        """
        for entry in self.entries if shape else ():
            if entry.key not in self._seen and any(step.shape == shape for step in entry.steps):
                self.refuse_out_of_turn(says, None)
                raise CannotContinueError(
                    f"{says}: this was done before, with other values ({entry.says}). Where the revision's "
                    "Python makes them anew each time it runs (a random id, the time), it would be done "
                    f"twice: write the values that it had into the file, or {self.way_out}"
                )

    def refuse_out_of_turn(self, says: str, undo: tuple[str, ...] | None) -> None:
        """Raise where a corrected file comes to a statement that cannot be taken back before it has repeated
        what was done: it may be what became of one of those, and would be done a second time.
        """
        if undo is None and (left_out := self._left_out()):
            raise CannotContinueError(
                f"{says}: the file of revision {self.revision} was changed, and this comes before what was "
                f"done before: {left_out}. Put it after that and let that be as it was, or {self.way_out}"
            )

    def note(self, entry: Entry, fingerprint: Callable[[], str | None]) -> None:
        """An operation is done in the transaction that is open."""
        self._pending.append((entry, fingerprint))

    def note_statements(self, step: Step, number: int) -> None:
        """The revision's own statements are done in the transaction that is open."""
        self._position += 1
        entry = Entry(f"statements #{number}", self._position, step.description, (step,), 1)
        self._pending.append((entry, lambda: None))

    @property
    def segments(self) -> int:
        """How many entries of the revision's own statements there are."""
        pending = [entry for entry, _ in self._pending]
        return self._segments + sum(_is_journal(entry) for entry in pending)

    def write(self, connection: Connection, entry: Entry, done: int) -> None:
        """Write down how far an operation has come, in the transaction of its step."""
        self.ledger.write(connection, self._new, entry, done)
        self._wrote = True

    def forget(self, connection: Connection, entry: Entry) -> None:
        """An operation was refused and has left nothing: it was not begun. In autocommit mode."""
        self.ledger.rolled_back()
        with transaction(connection):
            self.ledger.forget(connection, self.revision, entry.key)

    def flush(self, connection: Connection) -> None:
        """Write down what is done in the transaction that is about to be committed."""
        pending, self._pending = self._pending, []
        for entry, fingerprint in pending:
            entry.fingerprint = fingerprint()
            self._segments += _is_journal(entry)
            self.write(connection, entry, entry.done)

    def drop_pending(self) -> None:
        """What was not written was rolled back, or goes with the version table."""
        self._pending.clear()

    def savepoint(self, name: str) -> None:
        self._savepoints.append((name, len(self._pending)))

    def rollback_to(self, name: str) -> None:
        """What was done since the savepoint is undone."""
        while self._savepoints:
            found, length = self._savepoints.pop()
            if found == name:
                del self._pending[length:]
                return

    def finish(self, connection: Connection) -> None:
        """The revision is done: forget it, in the transaction of the version table."""
        if self.is_written:
            self.ledger.finish(connection, self.revision)
        self.committed, self._wrote = None, False
        self._pending.clear()


def refuse_unknown(entry: Entry) -> None:
    """Raise for an operation of which nobody knows whether it was done."""
    if entry.done == 0 and entry.steps and entry.steps[0].kind is Kind.UNKNOWN:
        raise CannotContinueError(
            f"nobody knows whether this was done, since it runs outside of transactions: {entry.says}. "
            "Look; then say so with `lockstep resolve --done` or `lockstep resolve --again`"
        )


def _is_journal(entry: Entry) -> bool:
    return bool(entry.steps and entry.steps[0].journal)
