"""The schema page: who sees it, and that looking holds up nobody and changes nothing."""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic import command

from browser import Browser
from folkmoot.http.problems import Unavailable
from folkmoot.pages.schema_sight import Sight, Sights
from folkmoot.pages.texts import text
from folkmoot.postgres import revisions
from folkmoot.postgres.models import Base
from folkmoot.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api import Api
    from testing.cluster import Cluster


@pytest.fixture
def database(cluster18: Cluster, migrated: str) -> Iterator[str]:
    name = cluster18.create_database(template=migrated)
    yield name
    cluster18.drop_database(name)


@pytest.fixture
def sights(cluster18: Cluster, database: str) -> Sights:
    return Sights(load(database_url=cluster18.url(database), secret_key="s" * 32))


def test_where_the_database_is_not_the_embedded_one_administrators_alone_see_it(api: Api) -> None:
    paths = ("/schema", "/schema/live", "/schema/plan")
    somebody = Browser(api)
    for path in paths:
        somebody.open(path)
        assert somebody.path.startswith("/login")
    ada = somebody.register("ada@example.com")
    for path in paths:
        ada.open(path)
        assert ada.answer.status_code == 403
    with api.connect() as connection:
        connection.execute("UPDATE users SET administrator = true")
    page = ada.open("/schema")
    assert ada.answer.headers["cache-control"] == "private, no-store"
    headings = {each.text for each in page.all("h3")}
    assert {table.name for table in Base.metadata.sorted_tables} <= headings
    assert len([*page.all("rect")]) == len(Base.metadata.tables)
    assert text("schema.live.nothing") in ada.open("/schema/live").text


@pytest.mark.prove
def test_a_plan_says_what_is_pending(cluster18: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    name = cluster18.create_database()
    monkeypatch.setenv("DATABASE_URL", cluster18.url(name))
    command.upgrade(revisions.config(), "6c4e1f90b2d7")
    sights = Sights(load(database_url=cluster18.url(name), secret_key="s" * 32))
    found = asyncio.run(sights.everything.get())
    plan = asyncio.run(sights.plan.get())
    assert "failed" not in plan, plan
    assert [one["revision"] for one in plan["revisions"]] == [*found.pending]
    assert plan["with_lockstep"]
    cluster18.drop_database(name)


def test_everything_is_seen_and_nothing_is_wrong_at_head(sights: Sights) -> None:
    found = asyncio.run(sights.everything.get())
    assert (found.heads, found.pending, found.unread) == ((revisions.scripts().get_current_head(),), (), [])
    assert (found.drift, found.models, found.half_done, found.archive) == ([], [], [], [])
    assert all(one.changes is not None and one.applied is not None for one in found.timeline)
    assert asyncio.run(sights.live.get()) is None


def test_who_looks_cannot_write_and_waits_for_no_lock_for_long(
    sights: Sights, cluster18: Cluster, database: str
) -> None:
    with sights._connected() as connection, pytest.raises(sa.exc.InternalError, match="read-only"):  # noqa: SLF001 (what bounds it is there)
        connection.exec_driver_sql("CREATE TABLE t ()")
    with cluster18.connect(database) as holder, holder.transaction():
        holder.execute("LOCK posts")
        began = perf_counter()
        found = asyncio.run(sights.everything.get())
        assert perf_counter() - began < 10
    assert found.heads
    assert any("lock timeout" in each for each in found.unread)


def test_a_database_that_is_away_is_unavailable_and_looked_for_again(cluster18: Cluster) -> None:
    sights = Sights(load(database_url=cluster18.url("nowhere"), secret_key="s" * 32))
    for _ in range(2):
        with pytest.raises(Unavailable):
            asyncio.run(sights.live.get())


def test_many_that_ask_at_once_look_once_and_the_loop_goes_on() -> None:
    looks, goes_on = 0, threading.Event()

    def look() -> int:
        nonlocal looks
        looks += 1
        assert goes_on.wait(10)
        return looks

    async def ask() -> list[int]:
        sight = Sight(look, kept=60)
        asking = [asyncio.create_task(sight.get()) for _ in range(20)]
        await asyncio.sleep(0)
        asking.pop().cancel()  # who goes away takes it from nobody
        goes_on.set()  # the loop comes here while the thread looks
        return [*await asyncio.gather(*asking), await sight.get()]

    assert set(asyncio.run(ask())) == {1}


def test_what_was_seen_is_kept_no_longer_than_said_and_a_failure_not_at_all() -> None:
    seen: list[int] = []

    def look() -> int:
        seen.append(1)
        if len(seen) == 1:
            raise Unavailable
        return len(seen)

    async def ask(sight: Sight[int]) -> tuple[int, int]:
        with pytest.raises(Unavailable):
            await sight.get()
        return await sight.get(), await sight.get()

    assert asyncio.run(ask(Sight(look, kept=0))) == (2, 3)
