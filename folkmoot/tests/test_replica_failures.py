"""A replica that does not answer, follows another server, or is none: left out, and never waited for long."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from api import Api
from folkmoot.postgres import replicas, revisions
from folkmoot.settings import SettingsError, load
from replicated import Replicated, until
from test_replicas import POST, elsewhere, ready, replica, titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from folkmoot.postgres.pool import Connection
    from testing.cluster import Cluster

#: Within how many seconds a replica is left out, as docs/replicas.md says; and some for a busy machine.
LEFT_OUT, BUSY = 2.0, 3.0


@pytest.fixture(scope="module")
def worker(servers: Replicated) -> Iterator[Api]:
    with Api(servers.primary, servers.database, database_read_url=servers.read_url) as api:
        yield api


@pytest.fixture
def api(worker: Api, servers: Replicated) -> Api:
    worker.empty()
    servers.catch_up()
    ready(worker)
    return worker


def processes(cluster: Cluster) -> list[int]:
    """Every process of a server."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    with cluster.connect() as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    return [postmaster, *(row[0] for row in rows)]


def test_a_frozen_replica_is_waited_for_once_and_comes_back(api: Api, servers: Replicated) -> None:
    frozen = processes(servers.replicas[0])
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = api.get("/posts", headers=elsewhere())
        assert (answer.status_code, time.monotonic() - began < replicas.READ_SECONDS + BUSY) == (200, True)
        assert until(lambda: not replica(api).usable) < LEFT_OUT + BUSY
        began = time.monotonic()
        assert api.get("/posts", headers=elsewhere()).status_code == 200
        assert time.monotonic() - began < replicas.READ_SECONDS
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    until(lambda: replica(api).usable)
    ready(api)


def test_a_replica_that_is_killed_is_replaced_by_the_primary_and_comes_back(
    api: Api, servers: Replicated
) -> None:
    person = api.person()
    servers.replicas[0].crash()
    for _ in range(3):
        assert api.get("/posts", headers=person.auth).status_code == 200
    assert not replica(api).usable
    assert api.post("/posts", json=POST, headers=person.auth).status_code == 201
    assert titles(api, elsewhere()) == ["A bench"]
    servers.replicas[0].start()
    until(lambda: replica(api).usable)
    ready(api)


def test_a_restarted_replica_is_not_asked_before_it_has_all_that_was_there(
    api: Api, servers: Replicated
) -> None:
    """It begins again further back than it was, and who has read of it before has no position."""
    ada, stranger = api.person(), elsewhere()
    api.post("/posts", json=POST, headers=ada.auth)
    servers.catch_up()
    assert titles(api, stranger) == ["A bench"]
    with servers.held():
        api.post("/posts", json=POST, headers=ada.auth)
        until(lambda: replica(api).usable)
        pool = replica(api).pool
        assert pool is not None
        api.run(pool.expire_connections)
        # New connections know nothing of what the old ones had: those who have seen nothing are asked
        # of the primary, until the replica has what was there when the connection was made.
        missed = replica(api).missed
        assert titles(api, elsewhere()) == ["A bench", "A bench"]
        assert replica(api).missed > missed
    servers.catch_up()
    ready(api)


def test_a_query_that_conflicts_with_what_is_replayed_is_asked_of_the_primary(
    api: Api, servers: Replicated
) -> None:
    person = api.person()
    post = api.post("/posts", json=POST, headers=person.auth).json()["id"]
    servers.catch_up()
    standby = servers.replicas[0].connect(servers.database)
    standby.execute("ALTER SYSTEM SET max_standby_streaming_delay = '1ms'")
    standby.execute("SELECT pg_reload_conf()")

    async def slowly(connection: Connection) -> None:
        """Ask for what is vacuumed on the primary meanwhile."""
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch("SELECT id FROM posts")
            with servers.primary.connect(servers.database) as primary:
                primary.execute("UPDATE posts SET title = 'Another' WHERE id = %s", (post,))
                primary.execute("VACUUM posts")
            await connection.fetch("SELECT pg_sleep(10)")

    with pytest.raises(replicas.MissedError) as missed:
        api.run(replica(api).run, 0, slowly)
    assert isinstance(missed.value.__cause__, asyncpg.SerializationError)
    assert replica(api).usable
    standby.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
    standby.execute("SELECT pg_reload_conf()")
    standby.close()


def test_a_replica_that_is_too_far_behind_is_left_out_and_comes_back(
    api: Api, servers: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "MOST_LAG", 1.0)
    person = api.person()
    with servers.held():
        api.post("/posts", json=POST, headers=person.auth)
        until(lambda: not replica(api).usable)
        assert titles(api, elsewhere()) == ["A bench"]
    until(lambda: replica(api).usable)


def check(servers: Replicated, read_url: str, primary: str = "") -> list[str]:
    url = primary or servers.primary.url(servers.database)
    return asyncio.run(replicas.check(load(database_url=url, database_read_url=read_url)))


def test_a_server_that_is_no_replica_of_this_database_stops_the_start(
    servers: Replicated, cluster18: Cluster, migrated: str
) -> None:
    good, closed = servers.read_url, f"postgresql:///d?host={servers.primary.folder}&port=1"
    assert check(servers, good) == []
    (unreached,) = check(servers, f"{good} {closed}")
    assert unreached.startswith("DATABASE_READ_URL: server 2 cannot be reached")
    for url, reason in (
        (servers.primary.url(servers.database), "server 1 is not in recovery, so it is no replica"),
        (servers.replicas[0].url("postgres"), "server 1 is for another database than DATABASE_URL"),
        (good.replace("postgres@", "nobody:hunter2@"), "server 1 lets nobody in as this role"),
        (f"{good} {servers.replicas[0].url('nothing')}", "server 2 lets nobody in"),
        ("mysql://u:hunter2@h/d", "DATABASE_READ_URL takes one or several"),
    ):
        with pytest.raises(SettingsError, match=reason) as refused:
            check(servers, url)
        assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsError, match="server 1 is a replica of another server"):
        check(servers, good, primary=cluster18.url(migrated))
    with pytest.raises(SettingsError, match="DATABASE_URL, which is not set"):
        load(database_read_url=good)


def test_a_replica_at_another_schema_revision_stops_the_start(
    servers: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "_PATIENCE", 1.0)
    with servers.primary.connect(servers.database) as primary, servers.held():
        primary.execute("UPDATE alembic_version SET version_num = 'a later one'")
        with pytest.raises(SettingsError, match=r"at the schema revision .*, and not a later one"):
            check(servers, servers.read_url)
        primary.execute("UPDATE alembic_version SET version_num = %s", [revisions.OLDEST])


@pytest.mark.prove
def test_a_replica_that_is_promoted_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Replicated(1, monkeypatch)
    try:
        with Api(pair.primary, pair.database, database_read_url=pair.read_url) as api:
            ready(api)
            with pair.replicas[0].connect() as standby:
                standby.execute("SELECT pg_promote()")
            assert until(lambda: not replica(api).usable) < LEFT_OUT + BUSY
            person = api.person()
            assert api.post("/posts", json=POST, headers=person.auth).status_code == 201
            assert titles(api, elsewhere()) == ["A bench"]
    finally:
        pair.remove()
