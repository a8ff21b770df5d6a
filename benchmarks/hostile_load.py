"""Hostile clients, all in one process: `python -m benchmarks.hostile_load < settings.json`.

They come from a thousand addresses in turn (127.1.y.z: Linux has all of them), so that no limit by client
stops them, or meets those who mean well. Prints how often each kind got which answer.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: How many at once, or how many a second.
IDLE, TRICKLING, UNREAD = 1000, 100, 60
REGISTRATIONS, SEARCHES = 50, 20
#: From how many addresses registrations and searches come: none reaches its limit.
_ADDRESSES = 1000
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_ESTABLISHED = 1

#: Words that most posts have (folkmoot/commands/made_up.py), and others.
_WORDS = [
    "bench", "bridge", "budget", "bus", "calendar", "choir", "clinic", "corner", "field", "fence", "garden",
    "hall", "build", "buy", "change", "clean", "close", "fix", "keep", "light", "map", "mend", "move", "open",
    "paint", "plan", "narrow", "new", "quiet", "wide", "wooden", "cheap", "street", "station", "theatre",
]  # fmt: skip
_BAD_SEARCHES = (
    " ".join(_WORDS)[:200],
    " or ".join(_WORDS)[:200],
    " ".join(f"-{word}" for word in _WORDS)[:200],
    f'"{" ".join(_WORDS)[:190]}"',
    " ".join(f'"the {word}"' for word in _WORDS[:12]),
    " ".join(f'-"the {word}"' for word in _WORDS[:12]),
    'bench -bench "the bench" -"the bus" or -or or -',
    '-"-"- "' * 20,
    "qzx" * 60,
    "\u0300\u0316" * 100,
    "a " * 400,
)


@dataclass
class Settings:
    port: int
    seconds: float
    #: Access tokens of those who post, and of those whose export is large.
    tokens: list[str]


@dataclass
class Crowd:
    """The hostile clients, and what became of them."""

    settings: Settings
    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _number: count[int] = field(default_factory=count)
    _once: set[asyncio.Task[None]] = field(default_factory=set)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.settings.port, local_addr=(self.address(), 0))

    def address(self) -> str:
        number = next(self._number) % _ADDRESSES
        return f"127.1.{number // 250}.{number % 250 + 1}"

    def request(self, method: str, path: str, kind: str = "", length: int = 0, token: str = "") -> bytes:
        head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.settings.port}"]
        head += [f"Content-Type: {kind}", f"Content-Length: {length}"] if kind else []
        head += [f"Authorization: Bearer {token}"] if token else []
        return ("\r\n".join(head) + "\r\n\r\n").encode()

    async def outcome(self, kind: str, client: Callable[[], Awaitable[str]]) -> None:
        """Count what became of one connection."""
        found = "open at the end"
        try:
            found = await client() or "closed"
        except OSError as error:
            found = type(error).__name__
            await asyncio.sleep(0.1)
        finally:
            self.answers[kind][found] += 1

    async def hold(self, kind: str, client: Callable[[], Awaitable[str]]) -> None:
        """Connect anew whenever a connection ends."""
        while True:
            await self.outcome(kind, client)

    async def pace(self, kind: str, a_second: int, client: Callable[[], Awaitable[str]]) -> None:
        """So many a second, whether those before were answered or not."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            task = asyncio.create_task(self.outcome(kind, client))
            self._once.add(task)
            task.add_done_callback(self._once.discard)
            due += 1 / a_second
            await asyncio.sleep(due - loop.time())

    async def one(self, sent: bytes) -> str:
        """One request on a connection of its own."""
        reader, writer = await self.connect()
        try:
            writer.write(sent)
            return await _status(reader)
        finally:
            writer.close()

    async def idle(self) -> str:
        return await self.one(b"")

    async def trickle(self, path: str, kind: str, token: str) -> str:
        reader, writer = await self.connect()
        try:
            writer.write(self.request("POST", path, kind, 1000, token))
            while True:
                writer.write(b"a")
                try:
                    async with asyncio.timeout(1):
                        return await _status(reader)
                except TimeoutError:
                    pass
        finally:
            writer.close()

    async def unread(self, token: str) -> str:
        """Ask for an export and read its status alone. Whether the connection lives, the kernel asks."""
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.settimeout(0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            connection.bind((self.address(), 0))
            await loop.sock_connect(connection, ("127.0.0.1", self.settings.port))
            await loop.sock_sendall(connection, self.request("GET", "/users/me/export", token=token))
            status = (await loop.sock_recv(connection, 12))[9:].decode()
            state = partial(connection.getsockopt, socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            while state()[0] == _ESTABLISHED:  # noqa: ASYNC110 - the kernel wakes nobody for it
                await asyncio.sleep(1)
        return f"{status}, then closed"

    async def register(self) -> str:
        body = json.dumps(
            {"email": f"hostile{next(self._number)}@example.net", "password": "correct horse battery"}
        ).encode()
        return await self.one(self.request("POST", "/users", _JSON, len(body)) + body)

    async def gather(self) -> None:
        """All at once, until the time is over."""
        tokens, searches = cycle(self.settings.tokens), cycle(_BAD_SEARCHES)
        bodies = [("/users", _JSON, ""), ("/login", _FORM, ""), ("/posts", _JSON, next(tokens))]

        async def search() -> str:
            return await self.one(self.request("GET", f"/posts?sort=top&q={quote_plus(next(searches))}"))

        async with asyncio.TaskGroup() as group:
            for _ in range(IDLE):
                group.create_task(self.hold("idle", self.idle))
            for number in range(TRICKLING):
                group.create_task(self.hold("trickle", partial(self.trickle, *bodies[number % 3])))
            for _ in range(UNREAD):
                group.create_task(self.hold("export", partial(self.unread, next(tokens))))
            group.create_task(self.pace("registration", REGISTRATIONS, self.register))
            group.create_task(self.pace("search", SEARCHES, search))


async def _status(reader: asyncio.StreamReader) -> str:
    """The status of an answer; nothing where the connection is closed without one."""
    return (await reader.readline())[9:12].decode()


async def main(crowd: Crowd) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(crowd.settings.seconds):
            await crowd.gather()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = Crowd(Settings(**json.load(sys.stdin)))
    uvloop.run(main(crowd))
    print(json.dumps(crowd.answers))
