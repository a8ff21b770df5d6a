"""A fill waits for a streaming replica that is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lockstep import Pace
from lockstep.steps import health
from project import Project
from test_locks import Told, told, under_way
from testing.cluster import FAST, Cluster

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

__all__ = ["told"]  # a fixture


@pytest.mark.prove
@pytest.mark.parametrize("version", [18, 15])
def test_a_fill_waits_for_a_replica_that_is_behind_and_goes_on(
    version: int, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_EVERY", 0.0)
    primary = Cluster(version)
    replica = Cluster(version, [*FAST, "wal_receiver_status_interval=1"], primary=primary)
    try:
        project = Project(tmp_path / "project", primary.url("postgres", "psycopg"), short_way=False)
        project.revision("op.backfill('posts', {'n': sa.text('id')})")
        with primary.connect() as service, replica.connect() as standby:
            service.execute("CREATE TABLE posts (id integer PRIMARY KEY, n integer)")
            service.execute("INSERT INTO posts SELECT generate_series(1, 20000)")
            service.execute("CREATE TABLE beats ()")
            standby.execute("SELECT pg_wal_replay_pause()")
            _beat_until(service, "replay_lag > '0.2 s'")
            with under_way(lambda: project.upgrade(pace=Pace(max_replica_lag=0.2, batch_time=0.001))):
                told.wait_for("paused: a replica: it is ")
                (filled,) = service.execute("SELECT count(n) FROM posts").fetchone() or (0,)
                assert filled < 20000
                standby.execute("SELECT pg_wal_replay_resume()")
                _beat_until(service, "replay_lag < '0.2 s'")
                told.wait_for("going on")
            assert service.execute("SELECT count(n) FROM posts").fetchone() == (20000,)
    finally:
        replica.remove()
        primary.remove()


def _beat_until(service: psycopg.Connection, condition: str) -> None:
    """Write, so that there is something to be behind of, until the server says this of its replica."""
    while not service.execute(f"SELECT FROM pg_stat_replication WHERE {condition}").rowcount:
        service.execute("INSERT INTO beats DEFAULT VALUES")
