"""A primary with streaming replicas, whose replay tests hold and let go."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alembic import command

from folkmoot.postgres import revisions
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

#: Nothing outlives the machine, but a commit is sent on at once.
_SETTINGS = ("fsync=off", "full_page_writes=off")
_POSITION = "SELECT pg_current_wal_insert_lsn()::text"


class Replicated:
    """A migrated database on a primary, and on replicas of it."""

    def __init__(self, replicas: int, patch: pytest.MonkeyPatch) -> None:
        self.primary = Cluster(18, _SETTINGS)
        self.database = self.primary.create_database()
        patch.setenv("DATABASE_URL", self.primary.url(self.database))
        command.upgrade(revisions.config(), "head")
        patch.undo()
        self.replicas = [Cluster(18, _SETTINGS, primary=self.primary) for _ in range(replicas)]

    @property
    def read_url(self) -> str:
        return " ".join(replica.url(self.database) for replica in self.replicas)

    def remove(self) -> None:
        for cluster in (*self.replicas, self.primary):
            cluster.remove()

    @contextmanager
    def held(self, number: int = 0) -> Iterator[None]:
        """Hold the replay of a replica for the length of the block, from where the primary is now."""
        self.catch_up()
        self.hold(number)
        try:
            yield
        finally:
            self.let_go(number)

    def hold(self, number: int = 0) -> None:
        with self.replicas[number].connect() as replica:
            replica.execute("SELECT pg_wal_replay_pause()")
            until(lambda: replica.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))

    def let_go(self, number: int = 0) -> None:
        with self.replicas[number].connect() as replica:
            replica.execute("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Wait until the replicas have all that the primary has now."""
        with self.primary.connect() as primary:
            row = primary.execute(_POSITION).fetchone()
        assert row is not None
        for each in self.replicas:
            with each.connect() as replica:
                asked = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
                until(lambda: replica.execute(asked, row).fetchone() == (True,))  # noqa: B023 - at once


def until(condition: Callable[[], bool], seconds: float = 20) -> float:
    """Ask until it is so; how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began
