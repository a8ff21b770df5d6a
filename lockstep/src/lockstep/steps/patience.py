"""Looking before locking: a step queues for a lock only where it will be had within the stall budget.

Whoever queues for a strong lock makes everybody wait who comes after. So before each statement of a brief
step the locks that it takes are read from its text, and who holds conflicting ones from pg_locks. Behind a
transaction that is older than the budget nobody queues: the step gives back what it has and looks later.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lockstep.postgres.table_locks import Holder, holders, locks_of, no_stronger_than
from lockstep.steps import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")

#: By how much the budget grows, and after how many seconds behind transactions that come and go.
_GROWTH = 1.5
_GROW_AFTER = 1.0


class InTheWayError(Exception):
    """Transactions hold the locks that a statement needs, and have done so for longer than the budget."""

    def __init__(self, found: list[Holder]) -> None:
        super().__init__("the locks are taken")
        self.found = found


class Patience:
    """One brief step's wait for its locks: its budget, and what it has seen in its way."""

    def __init__(self, pace: Pace, description: str) -> None:
        self._pace = pace
        self._description = description
        self.budget = pace.lock_timeout
        self.vacuumed: set[str] = set()
        """Tables that an autovacuum worker holds, which can be made to let go."""
        self._first_seen: dict[str, float] = {}
        self._in_the_way: set[str] = set()
        self._turnover_since: float | None = None
        self._named: set[str] = set()

    @contextmanager
    def looking(self, connection: Connection) -> Iterator[None]:
        """Look before each statement of the block, which is in one transaction; raise InTheWayError where it
        would have to queue long. What an earlier statement has locked is not looked for again: others wait.
        """
        taken: set[tuple[str, str]] = set()

        def look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            locks = locks_of(statement)
            wanted = [lock for lock in locks if lock.drops or (lock.name, lock.mode) not in taken]
            if wanted:
                self._judge(holders(connection, wanted))
                taken.update((lock.name, mode) for lock in wanted for mode in no_stronger_than(lock.mode))

        sa.event.listen(connection, "before_cursor_execute", look)
        try:
            yield
        finally:
            sa.event.remove(connection, "before_cursor_execute", look)

    def _judge(self, found: list[Holder]) -> None:
        now = time.monotonic()
        current = {holder.transaction for holder in found}
        for gone in self._first_seen.keys() - current:
            del self._first_seen[gone]
        for holder in found:
            self._first_seen.setdefault(holder.transaction, now)
            if holder.is_autovacuum and not holder.prevents_wraparound:
                self.vacuumed.add(holder.table)
        old = [
            holder
            for holder in found
            if not (holder.is_autovacuum and not holder.prevents_wraparound)
            and self.age(holder, now) > self.budget
        ]
        if old:
            self._climb({holder.transaction for holder in old}, now)
            raise InTheWayError(old)

    def age(self, holder: Holder, now: float) -> float:
        """Seconds since a transaction began, or since it was first seen where this role is not told."""
        return holder.age if holder.age is not None else now - self._first_seen[holder.transaction]

    def _climb(self, in_the_way: set[str], now: float) -> None:
        """Let the budget grow where others come and go and there is never room between them.

        Not behind one that stays: however long the wait, it would not be over.
        """
        if self._in_the_way and not self._in_the_way & in_the_way:
            self._turnover_since = self._turnover_since or now
        if self._in_the_way & in_the_way and len(in_the_way) == 1:
            self._turnover_since = None
        self._in_the_way = in_the_way
        if self._turnover_since is not None and now - self._turnover_since > _GROW_AFTER:
            self._turnover_since = now
            self.grow()

    def grow(self) -> None:
        """Wait longer from now on, up to the greatest stall that is allowed."""
        if self.budget >= self._pace.max_lock_timeout:
            return
        self.budget = min(self.budget * _GROWTH, self._pace.max_lock_timeout)
        log.info(
            "%s: the transactions in its way overlap; waiting for locks up to %d ms now, at most %d ms",
            self._description, self.budget * 1000, self._pace.max_lock_timeout * 1000,
        )  # fmt: skip

    def tell(self, found: list[Holder]) -> None:
        """Log who is in the way, each transaction once."""
        now = time.monotonic()
        for holder in found:
            if holder.transaction in self._named:
                continue
            self._named.add(holder.transaction)
            events.emit(
                "waiting", step=self._description, pid=holder.pid, user=holder.user, state=holder.state,
                seconds=round(self.age(holder, now), 3),
            )  # fmt: skip
            log.info(
                "%s: waiting for %s", self._description,
                describe(holder, self.age(holder, now), statements=self._pace.show_statements),
            )  # fmt: skip


def describe(holder: Holder, age: float, *, statements: bool) -> str:
    """Who it is, in a line: pid, user, state, how long; the statement only where it is asked for."""
    if holder.pid is None:
        return (
            f"a prepared transaction ({holder.transaction}) on {holder.table}: COMMIT or ROLLBACK PREPARED it"
        )
    if holder.prevents_wraparound:
        who, state = "autovacuum to prevent wraparound, which is not to be interrupted", "at work"
    else:
        who, state = holder.user or "a user that this role may not see", holder.state or "running"
    seen = "for" if holder.age is not None else "seen for"
    line = f"pid {holder.pid} ({who}, {state} {seen} {age:.1f} s) on {holder.table}"
    if statements and holder.statement:
        line += ": " + " ".join(holder.statement.split())[:200]
    return line
