"""The request's transaction: committed before the answer, and run again when its statements are stale."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from folkmoot.postgres.pool import Connection, open_pool
from folkmoot.postgres.requests import Route, Transaction
from folkmoot.settings import load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from testing.cluster import Cluster

router = APIRouter(route_class=Route)


@router.post("/things")
async def add(connection: Transaction) -> dict[str, Any]:
    await connection.execute("INSERT INTO things DEFAULT VALUES")
    row = await connection.fetchrow("SELECT id, kind FROM things ORDER BY id DESC LIMIT 1")
    return dict(row)


@router.post("/broken")
async def add_broken(connection: Transaction) -> dict[str, Any]:
    await connection.execute("INSERT INTO things (kind) VALUES (0)")
    return {}


@pytest.fixture
def things(cluster18: Cluster) -> Iterator[str]:
    name = cluster18.create_database()
    with cluster18.connect(name) as connection:
        connection.execute(
            "CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds VALUES (1);"
            "CREATE TABLE things (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "kind int NOT NULL DEFAULT 1 REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)"
        )
    yield name
    cluster18.drop_database(name)


def with_client(
    url: str, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]], **given: Any
) -> None:
    async def main() -> None:
        app = FastAPI()
        app.include_router(router)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        settings = load(database_url=url, **given)
        async with (
            await open_pool(settings) as app.state.pool,
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            await use(client)

    asyncio.run(main())


def test_no_request_fails_while_the_type_of_a_column_changes(cluster18: Cluster, things: str) -> None:
    # More connections than one have prepared the statement; every one of them is stale afterwards.
    async def use(client: httpx.AsyncClient) -> None:
        async def burst() -> list[int]:
            return [r.status_code for r in await asyncio.gather(*(client.post("/things") for _ in range(20)))]

        assert set(await burst()) == {200}
        for type_ in ("bigint", "int", "bigint"):
            with cluster18.connect(things) as connection:
                connection.execute(f"ALTER TABLE things ALTER COLUMN kind TYPE {type_}")
            assert set(await burst()) == {200}

    with_client(cluster18.url(things), use, database_pool_size=4)
    with cluster18.connect(things) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (80,), "each ran once"


def test_a_commit_that_fails_is_no_success(cluster18: Cluster, things: str) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        assert (await client.post("/broken")).status_code == 500
        assert (await client.post("/things")).status_code == 200

    with_client(cluster18.url(things), use)
    with cluster18.connect(things) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (1,)


def test_nothing_is_prepared_where_the_statement_cache_is_off(cluster18: Cluster, things: str) -> None:
    async def main() -> None:
        settings = load(database_url=cluster18.url(things), database_statement_cache_size=0)
        async with await open_pool(settings) as pool, pool.acquire() as connection:
            await connection.fetch("SELECT id FROM things WHERE id = $1", 1)
            named = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
            assert named == 0

    asyncio.run(main())


def test_a_pool_is_opened_whole_and_what_comes_first_is_planned_on_each_connection(
    cluster18: Cluster, things: str
) -> None:
    async def first(connection: Connection) -> None:
        await connection.fetch("SELECT id FROM things WHERE id = $1", 0)

    planned = """
        SELECT pg_backend_pid(), max(generic_plans) FROM pg_prepared_statements
         WHERE statement LIKE 'SELECT id FROM things%'
    """

    async def main() -> None:
        async with await open_pool(load(database_url=cluster18.url(things), database_pool_size=3)) as pool:
            await pool.open_all(first)
            assert (pool.get_size(), pool.get_idle_size()) == (3, 3)
            async with AsyncExitStack() as stack:
                each = [await stack.enter_async_context(pool.acquire()) for _ in range(3)]
                found = [tuple(await connection.fetchrow(planned)) for connection in each]
            assert len({pid for pid, _ in found}) == 3
            assert [plans for _, plans in found] == [1, 1, 1]

    asyncio.run(main())


@pytest.mark.parametrize("table", ["no_such_table", "things"])
def test_a_pool_opens_while_the_database_is_away_or_has_no_schema(
    cluster18: Cluster, things: str, table: str
) -> None:
    async def first(connection: Connection) -> None:
        await connection.fetch(f"SELECT id FROM {table} WHERE id = $1", 0)

    async def main() -> None:
        url = cluster18.url(things)
        away = "postgresql://127.0.0.1:1/nobody"
        async with await open_pool(load(database_url=url if table == "no_such_table" else away)) as pool:
            await pool.open_all(first)
            assert pool.get_size() == pool.get_idle_size() <= 1

    asyncio.run(main())


def test_the_pool_understands_what_libpq_does(cluster18: Cluster, things: str) -> None:
    async def main() -> None:
        url = f"{cluster18.url(things)}&application_name=moot&connect_timeout=3&keepalives=1"
        async with await open_pool(load(database_url=url)) as pool:
            found = await pool.fetchrow(
                "SELECT current_database() AS name, current_setting('application_name') AS application"
            )
        assert dict(found) == {"name": things, "application": "moot"}

    asyncio.run(main())
