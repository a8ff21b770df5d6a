"""An autovacuum against wraparound is recognised: PostgreSQL does not let it be cancelled by who waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from lockstep.plan.obstacles import Kind, obstacles
from lockstep.plan.operation import TableName
from lockstep.postgres.table_locks import Holder, holders, locks_of
from testing.cluster import FAST, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Two pages a second, on this table alone.
SLOWLY = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"


@pytest.fixture
def vacuuming() -> Iterator[Cluster]:
    """A server that vacuums against wraparound as early as it can be told to."""
    cluster = Cluster(18, (*FAST, "autovacuum_freeze_max_age=100000", "autovacuum_naptime=1s"))
    yield cluster
    cluster.remove()


@pytest.mark.prove
def test_an_autovacuum_against_wraparound_is_recognised(vacuuming: Cluster) -> None:
    with vacuuming.connect() as connection:
        connection.execute(f"CREATE TABLE big WITH ({SLOWLY}) AS SELECT n FROM generate_series(1, 300000) n")
        connection.execute(
            "DO $$ BEGIN FOR n IN 1..110000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )
    engine = sa.create_engine(vacuuming.url("postgres", "psycopg"), poolclass=sa.pool.NullPool)
    found: list[Holder] = []
    until = time.monotonic() + 120
    with engine.connect() as connection:
        while not found and time.monotonic() < until:
            found = holders(connection, locks_of("ALTER TABLE big ADD COLUMN more text"))
            connection.rollback()
        told = obstacles(connection, [TableName("public", "big")])
    (worker,) = found
    assert worker.is_vacuum
    assert worker.is_autovacuum
    assert worker.prevents_wraparound
    (obstacle,) = told
    assert (obstacle.kind, obstacle.pid) == (Kind.WRAPAROUND, worker.pid)
    assert "is at work on big against wraparound, and lets nobody through" in obstacle.says
