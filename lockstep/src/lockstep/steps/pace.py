"""How gently a migration goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Pace:
    """How gently to go. Times in seconds. Raises LockstepError for times that make no sense together."""

    lock_timeout: float = 0.04
    """The longest that a step usually waits for its locks: whoever comes after it waits that long too."""
    max_lock_timeout: float = 0.25
    """Where the transactions of a table overlap and last longer than ``lock_timeout``, it grows to this."""
    max_hold: float = 1.0
    """How long one statement may hold a lock that blocks others; then it is broken off and the step fails."""
    give_up_after: float | None = None
    """How long a step that doesn't get its locks is retried; None: until it gets them."""
    batch_time: float = 0.02
    """How long one batch of a fill should take."""
    max_replica_lag: float = 10.0
    """A fill pauses while a streaming replica is further behind than this."""
    max_archive_queue: int = 64
    """A fill pauses while more WAL segments than this wait to be archived."""
    max_slot_retention: int = 10 * 2**30
    """A fill pauses while a replication slot keeps more bytes of WAL than this, or is about to be lost."""
    pause_for_autovacuum: bool = False
    """Whether a fill pauses while autovacuum is at work on its table; for one against wraparound it does."""
    max_active_sessions: int | None = None
    """A fill pauses while more of the database's other sessions than this are active; None: not asked."""
    pause_while: str | Path | Callable[[], bool | str | None] | None = None
    """A fill pauses while this query gives true or a text, this file is there, or this function says so."""
    connections: int = 2
    """How many connections fill a column whose type changes, or whose default is volatile. The further ones
    join once the fill has lasted half a second; they are opened the way that the engine opens its own."""
    show_statements: bool = False
    """Whether other people's SQL is shown when it is said whom a step waits for."""
    version_table: str = field(default="", repr=False)
    """By what name `lockstep pause` and `lockstep pace` reach this migration; ``lockstep.run`` sets it."""

    def __post_init__(self) -> None:
        positive = ("lock_timeout", "max_lock_timeout", "max_hold", "batch_time", "max_replica_lag")
        for name in positive:
            if not getattr(self, name) > 0:
                raise LockstepError(
                    f"Pace({name}={getattr(self, name)!r}): takes a number of seconds above 0"
                )
        if self.max_lock_timeout < self.lock_timeout:
            raise LockstepError(
                f"Pace: max_lock_timeout ({self.max_lock_timeout}) is the greatest that lock_timeout "
                f"({self.lock_timeout}) may grow to, and cannot be less"
            )
        if self.connections < 1:
            raise LockstepError(f"Pace(connections={self.connections!r}): takes 1 or more")
