"""A table that a logical subscriber follows: what would stop it is refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lockstep import LockstepError
from test_cannot_do import TABLE, WIDEN
from testing.cluster import FAST, Cluster
from world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUBLISHED = (
    "CREATE PUBLICATION everything FOR ALL TABLES",
    "CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public",
    "CREATE PUBLICATION accounts FOR TABLE account WHERE (id > 0)",
)


@pytest.fixture(scope="module")
def logical() -> Iterator[Cluster]:
    made = Cluster(18, (*FAST, "wal_level=logical"))
    yield made
    made.remove()


@pytest.fixture
def world(logical: Cluster, tmp_path: Path) -> Iterator[World]:
    made = World(logical, tmp_path, TABLE)
    made.project.revision(WIDEN)
    yield made
    made.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    logical.drop_database(made.name)


@pytest.mark.parametrize("publication", PUBLISHED)
def test_another_type_of_a_published_column_is_refused_while_somebody_subscribes(
    publication: str, world: World
) -> None:
    world.run(publication)
    world.run("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
    with pytest.raises(LockstepError, match=r"account is published \(\w+\).*missing replicated column"):
        world.project.upgrade()
    assert world.run("SELECT pg_typeof(v)::text FROM account LIMIT 1") == [("integer",)]
    world.run("SELECT pg_drop_replication_slot('follower')")
    world.project.upgrade()
    assert world.run("SELECT pg_typeof(v)::text FROM account LIMIT 1") == [("bigint",)]


def test_a_subscriber_goes_on_through_the_way_out(logical: Cluster, tmp_path: Path) -> None:
    world = World(logical, tmp_path, TABLE)
    world.project.revision(f"with lockstep.plain():\n        {WIDEN}")
    world.run(PUBLISHED[2])
    world.run("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
    follower = logical.create_database()
    with logical.connect(follower) as subscriber:
        subscriber.execute("CREATE TABLE account (id integer PRIMARY KEY, v integer, w integer)")
        subscriber.execute(
            f"CREATE SUBSCRIPTION follower CONNECTION '{logical.url(world.name)}' PUBLICATION accounts "
            "WITH (create_slot = false, copy_data = false)".encode()
        )
        world.project.upgrade()
        world.run("INSERT INTO account VALUES (100, 1, 1)")
        deadline = time.monotonic() + 20
        while subscriber.execute("SELECT FROM account WHERE id = 100").rowcount != 1:
            assert time.monotonic() < deadline
        subscriber.execute("ALTER SUBSCRIPTION follower DISABLE")
        subscriber.execute("ALTER SUBSCRIPTION follower SET (slot_name = NONE)")
        subscriber.execute("DROP SUBSCRIPTION follower")
    logical.drop_database(follower)
    world.run("SELECT pg_drop_replication_slot('follower')")
    logical.drop_database(world.name)
