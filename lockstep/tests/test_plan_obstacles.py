"""What a plan says is in the way now: each kind is made on purpose, and gone once it is done as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import database18
from lockstep.plan import obstacles as module
from lockstep.plan.obstacles import Kind, Obstacle, obstacles
from lockstep.plan.operation import TableName
from lockstep.revision.ledger import Ledger
from plan_reader import looking
from project import Project, stops
from testing.cluster import FAST, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTS = TableName("public", "posts")

database = database18("""
CREATE TABLE posts (id integer PRIMARY KEY, n integer);
CREATE TABLE others (id integer PRIMARY KEY);
INSERT INTO posts SELECT n, n % 7 FROM generate_series(1, 2000) n;
ANALYZE posts;
""")


@pytest.fixture
def reader(cluster18: Cluster, database: str) -> Iterator[sa.Connection]:
    """A role that only reads, and sees what others do."""
    with looking(cluster18, database) as connection:
        with cluster18.connect(database) as owner:
            owner.execute("GRANT pg_read_all_stats TO plan_looker")
        yield connection
    with cluster18.connect(database) as owner:
        owner.execute("REVOKE pg_read_all_stats FROM plan_looker")


def found(connection: sa.Connection, *kinds: Kind, **asked: object) -> list[Obstacle]:
    told = obstacles(connection, [POSTS], **asked)  # type: ignore[arg-type]  # as the tests need
    return [one for one in told if not kinds or one.kind in kinds]


def test_on_a_server_at_rest_nothing_is_in_the_way(reader: sa.Connection) -> None:
    assert found(reader) == []


def test_who_holds_a_lock_on_a_table_is_told(
    cluster18: Cluster, database: str, reader: sa.Connection
) -> None:
    with cluster18.connect(database, autocommit=False) as idle:
        idle.execute("SELECT count(*) FROM posts")
        pid = idle.info.backend_pid
        reader.execute(sa.text("SELECT pg_sleep(0.05)"))
        (one,) = found(reader)
        assert (one.kind, one.pid, one.table) == (Kind.TRANSACTION, pid, "posts")
        assert one.says.startswith(f"pid {pid} (postgres, idle in transaction for ")
        assert one.says.endswith(" s) on posts holds a lock")
        assert one.do == f"let its program commit, or end it: SELECT pg_terminate_backend({pid})"
        idle.rollback()
        assert found(reader) == []


def test_who_is_old_is_told_whatever_it_holds(
    cluster18: Cluster, database: str, reader: sa.Connection
) -> None:
    with cluster18.connect(database, autocommit=False) as idle:
        idle.execute("SELECT count(*) FROM others")
        assert found(reader) == []
        (one,) = found(reader, old=0.0)
        assert (one.kind, one.pid) == (Kind.TRANSACTION, idle.info.backend_pid)
        assert "CREATE INDEX CONCURRENTLY waits for it" in one.do


def test_an_index_that_is_invalid_is_told(cluster18: Cluster, database: str, reader: sa.Connection) -> None:
    with cluster18.connect(database) as owner:
        with pytest.raises(Exception, match="could not create unique index"):
            owner.execute('CREATE UNIQUE INDEX CONCURRENTLY "On ce" ON posts (n)')
        (one,) = found(reader)
        assert (one.kind, one.table) == (Kind.INVALID_INDEX, "posts")
        assert one.says.startswith("the index On ce of posts is INVALID")
        do, _, _ = one.do.partition(", or ")
        owner.execute(do.encode())
        assert found(reader) == []


def test_a_revision_that_is_half_done_is_told_as_status_tells_it(
    cluster18: Cluster, database: str, reader: sa.Connection, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    stops(project, "op.create_index('posts_n', 'posts', ['n'])")
    ledger = Ledger("alembic_version")
    with sa.create_engine(project.url, poolclass=sa.NullPool).connect() as owner:
        ledger.locate(owner, "alembic_version", None)
    (one,) = found(reader, version_table=ledger.version_table)
    assert one.kind is Kind.NOT_SEEN
    assert "GRANT USAGE ON SCHEMA lockstep TO plan_looker" in one.do
    with looking(cluster18, database) as again:
        (one,) = found(again, Kind.HALF_DONE, version_table=ledger.version_table)
    assert one.says == (
        "the upgrade of revision r1 is half done (1 operations done); it stopped with: stopped"
    )
    assert "see: lockstep status" in one.do


def test_a_role_that_does_not_see_others_says_so(cluster18: Cluster, database: str) -> None:
    with looking(cluster18, database) as connection, cluster18.connect(database, autocommit=False) as idle:
        idle.execute("SELECT count(*) FROM posts")
        lock, blind = obstacles(connection, [POSTS])
    assert lock.kind is Kind.TRANSACTION
    assert lock.says == f"pid {lock.pid} (postgres) on posts holds a lock; for how long, this role cannot see"
    assert blind.kind is Kind.NOT_SEEN
    assert blind.do == "GRANT pg_read_all_stats TO plan_looker"


def test_too_little_free_disk_is_told(
    cluster18: Cluster, database: str, reader: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.free_bytes(reader) is None  # a role that may not know where the data lie
    with sa.create_engine(cluster18.url(database, "psycopg"), poolclass=sa.NullPool).connect() as owner:
        free = module.free_bytes(owner)
        assert free is not None
        assert free > 2**20
    monkeypatch.setattr(module, "free_bytes", lambda _: 10_000)
    (one,) = found(reader)
    assert one.kind is Kind.DISK
    assert one.says.startswith("9 kB of disk are free; the largest of the tables takes ")


@pytest.fixture(scope="module")
def replicating() -> Iterator[Cluster]:
    """A server with replication slots and prepared transactions."""
    cluster = Cluster(18, (*FAST, "wal_level=logical", "max_prepared_transactions=5"))
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE posts (id integer PRIMARY KEY)")
    yield cluster
    cluster.remove()


@pytest.mark.parametrize("slot", ["physical", "logical"])
def test_a_replication_slot_that_nobody_reads_is_told(slot: str, replicating: Cluster) -> None:
    made = {
        "physical": "SELECT pg_create_physical_replication_slot('standby', true)",
        "logical": "SELECT pg_create_logical_replication_slot('standby', 'pgoutput')",
    }
    with looking(replicating, "postgres") as connection, replicating.connect() as owner:
        owner.execute(made[slot].encode())
        (one,) = found(connection, Kind.SLOT)
        assert one.says.startswith("the replication slot standby keeps ")
        assert ("rows of the last" in one.says) == (slot == "logical")
        owner.execute(one.do.encode())
        assert found(connection, Kind.SLOT) == []


def test_a_prepared_transaction_is_told(replicating: Cluster) -> None:
    with looking(replicating, "postgres") as connection, replicating.connect() as owner:
        owner.execute("BEGIN; LOCK posts; PREPARE TRANSACTION 'it''s'")
        (one,) = found(connection, Kind.PREPARED)
        assert (
            one.says == "the prepared transaction it's of postgres is open for 0 s, and holds locks on posts"
        )
        owner.execute(one.do.rpartition(" or ")[2].encode())
        assert found(connection, Kind.PREPARED) == []
