"""People who read and write through two workers while a replica lags: whether anybody is shown what is old.

Each request goes to either worker, from any address, with a token or a cookie. Everybody has a post, which
nobody else changes: what they read of it is what they wrote last. And there is a clock, a post that counts
up: nobody sees it go back.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from structlog.contextvars import get_contextvars

from api import CHEAP, PASSWORD, SECRET, UNLIMITED
from folkmoot.app import create_app
from folkmoot.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fastapi import FastAPI

    from replicated import Replicated

#: One of so many operations is a write.
READS_A_WRITE = 40
_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
_TITLE = re.compile(r"<h1[^>]*>\s*([^<]*?)\s*</h1>")


@dataclass
class Told:
    """What came of a run."""

    operations: int = 0
    writes: int = 0
    #: Requests that a replica answered, and that it was not asked or did not answer.
    on_replica: int = 0
    on_primary: int = 0
    stale: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.on_replica / (self.on_replica + self.on_primary)

    def __str__(self) -> str:
        return (
            f"{self.operations} operations, {self.writes} of them writes; {len(self.stale)} stale reads; "
            f"{self.share:.1%} of the reads on the replica"
        )


async def call(
    worker: FastAPI, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, str, bytes]:
    """A request without a network, from any address: its status, the cookie that it sets, its body."""
    path, _, query = path.partition("?")
    given = {"host": "testserver", "x-forwarded-for": f"2001:db8::{random.getrandbits(16):x}", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1), "server": ("testserver", 80),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await worker(scope, receive, send)
    cookies = [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    kept = "; ".join(each.partition(";")[0] for each in cookies if "Max-Age=0" not in each)
    return sent[0]["status"], kept, b"".join(each.get("body", b"") for each in sent[1:])


class Somebody:
    """A person with a post of their own, who reads by the API and, one in five, by pages."""

    def __init__(self, number: int, workers: Sequence[FastAPI], told: Told) -> None:
        self.number = number
        self.id = self.post = 0
        self.title = ""
        self.voted = False
        self.clock = 0
        self._workers = workers
        self._told = told
        self._pages = number % 5 == 0
        self._auth: dict[str, str] = {}
        self._cookie: dict[str, str] = {}

    async def _get(self, path: str, headers: dict[str, str]) -> str:
        status, _, answer = await call(random.choice(self._workers), "GET", path, headers)
        assert status == 200, (path, status, answer)
        if str(get_contextvars()["read_from"]).startswith("replica"):
            self._told.on_replica += 1
        else:
            self._told.on_primary += 1
        return answer.decode()

    async def _json(self, path: str) -> Any:
        return json.loads(await self._get(path, self._auth))

    async def _send(self, method: str, path: str, **body: Any) -> Any:
        headers = {**self._auth, "content-type": "application/json"}
        sent = json.dumps(body).encode() if body else b""
        status, _, answer = await call(random.choice(self._workers), method, path, headers, sent)
        assert status in {200, 201, 204}, (method, path, status, answer)
        return json.loads(answer) if answer else None

    async def come(self) -> None:
        """Register, log in and write a post."""
        email = f"reader{self.number}@example.com"
        self.id = (await self._send("POST", "/users", email=email, password=PASSWORD))["id"]
        password = PASSWORD.replace(" ", "+")
        form = {"content-type": "application/x-www-form-urlencoded", "origin": "http://testserver"}
        body = f"username={email}&password={password}".encode()
        _, _, answer = await call(self._workers[0], "POST", "/login", form, body)
        self._auth = {"authorization": f"Bearer {json.loads(answer)['access_token']}"}
        if self._pages:
            _, cookie, page = await call(self._workers[0], "GET", "/login", {})
            token = _TOKEN.search(page.decode())
            assert token is not None
            body = f"csrf={token[1]}&email={email}&password={password}".encode()
            _, cookie, _ = await call(self._workers[0], "POST", "/log-in", {**form, "cookie": cookie}, body)
            self._cookie = {"cookie": cookie}
        self.title = "0"
        self.post = (await self._send("POST", "/posts", title="0", content="Mine"))["id"]

    async def write(self) -> None:
        """Change one's own post, or one's vote on it."""
        if random.random() < 0.5:
            title = str(int(self.title) + 1)
            await self._send("PATCH", f"/posts/{self.post}", title=title)
            self.title = title
        else:
            await self._send("DELETE" if self.voted else "PUT", f"/posts/{self.post}/vote")
            self.voted = not self.voted

    async def read(self, clock: int) -> None:
        """Read one's own post, alone, in a list or as a page; or the clock."""
        choice = random.randrange(4)
        if choice == 0:
            shown = int((await self._json(f"/posts/{clock}"))["title"])
            self._see(shown >= self.clock, f"the clock at {shown} after {self.clock}")
            self.clock = shown
        elif choice == 1 and self._pages:
            heading = _TITLE.search(await self._get(f"/p/{self.post}", self._cookie))
            assert heading is not None
            self._see(heading[1] == self.title, f"a page with {heading[1]} after {self.title}")
        else:
            if choice == 2:
                (item,) = (await self._json(f"/posts?owner={self.id}"))["items"]
            else:
                item = await self._json(f"/posts/{self.post}")
            found, known = (item["title"], item["voted"]), (self.title, self.voted)
            self._see(found == known, f"{found} after {known}")

    def _see(self, fresh: bool, otherwise: str) -> None:  # noqa: FBT001 - what is asserted
        if not fresh:
            self._told.stale.append(f"person {self.number} is shown {otherwise}")


@asynccontextmanager
async def _two_workers(servers: Replicated) -> AsyncIterator[list[FastAPI]]:
    settings: dict[str, Any] = {
        **UNLIMITED, "database_url": servers.primary.url(servers.database),
        "database_read_url": servers.read_url, "secret_key": SECRET, "log_level": "error",
        "trusted_proxies": "127.0.0.1",
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        made = [create_app(load(**settings), CHEAP) for _ in range(2)]
        for each in made:
            await stack.enter_async_context(each.router.lifespan_context(each))
        yield made


async def run(servers: Replicated, *, people: int, operations: int, pause: float, lag: float) -> Told:
    """People who pause for so long between operations, on the average, while replay is held for up to `lag`
    seconds, again and again, and then let go for as long.
    """
    told, over = Told(), asyncio.Event()

    async def lagging() -> None:
        while not over.is_set():
            await asyncio.to_thread(servers.hold)
            await asyncio.sleep(random.uniform(0, lag))  # what is tried is a time
            await asyncio.to_thread(servers.let_go)
            await asyncio.sleep(random.uniform(0, lag))

    async def ticking(clock: Somebody) -> None:
        while not over.is_set():
            await clock.write()
            await asyncio.sleep(0.05)

    async def lives(somebody: Somebody, clock: Somebody) -> None:
        for _ in range(operations // people):
            told.operations += 1
            if random.randrange(READS_A_WRITE):
                await somebody.read(clock.post)
            else:
                told.writes += 1
                await somebody.write()
            await asyncio.sleep(random.expovariate(1 / pause))

    async with _two_workers(servers) as workers:
        clock, *everybody = (Somebody(number, workers, told) for number in range(people + 1))
        for each in (clock, *everybody):
            await each.come()
        beside = [asyncio.create_task(lagging()), asyncio.create_task(ticking(clock))]
        await asyncio.gather(*(lives(each, clock) for each in everybody))
        over.set()
        await asyncio.gather(*beside)
    return told
