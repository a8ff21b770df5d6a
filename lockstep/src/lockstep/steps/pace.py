"""How gently a migration goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How gently to go. Times in seconds."""

    lock_timeout: float = 0.04
    """The longest a step waits for its locks: whoever comes after it waits that long too."""
    give_up_after: float | None = None
    """How long a step that doesn't get its locks is retried; None: until it gets them."""
    batch_time: float = 0.02
    """How long one batch of a fill should take."""
    max_replica_lag: float = 10.0
    """A fill pauses while a streaming replica is further behind than this."""
    connections: int = 2
    """How many connections fill a column whose type changes, or whose default is volatile. The further ones
    join once the fill has lasted half a second, where the engine opens new ones (NullPool)."""
