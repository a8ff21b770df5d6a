"""People who mean well, in one process: `python -m benchmarks.ordinary < settings.json`.

One reads, a request every 1/30 s on one connection; two a second log in, each on a connection of its own.
What is due while an answer is waited for is counted from when it was due. Prints the times and statuses.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from itertools import cycle
from urllib.parse import quote_plus

import uvloop

READS, LOGINS = 30, 2
#: How long somebody waits for an answer.
_PATIENCE = 30


@dataclass
class Settings:
    port: int
    seconds: float
    paths: list[str]
    emails: list[str]
    password: str


@dataclass
class Seen:
    """In milliseconds, and how often which status was answered."""

    times: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def add(self, seconds: float, status: str) -> None:
        self.times.append(seconds * 1000)
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Connection:
    """A connection to the service, made when it is needed, and made anew when it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: str, body: str = "") -> str:
        """The status of an answer that was read to its end."""
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                head = f"{request} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
                if body:
                    head += "Content-Type: application/x-www-form-urlencoded\r\n"
                    head += f"Content-Length: {len(body)}\r\n"
                writer.write(f"{head}\r\n{body}".encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                for line in answer.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line[15:]))
                return answer[9:12].decode()
        except (OSError, EOFError) as error:
            self.close()
            return type(error).__name__

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def read(settings: Settings, seen: Seen) -> None:
    connection, paths = Connection(settings.port), cycle(settings.paths)
    loop = asyncio.get_running_loop()
    began = due = loop.time()
    while due < began + settings.seconds:
        # A timer that rings late is our own fault, an answer before this one that came late is not.
        if (now := loop.time()) < due:
            await asyncio.sleep(due - now)
            asked = loop.time()
        else:
            asked = due
        status = await connection.ask(f"GET {next(paths)}")
        seen.add(loop.time() - asked, status)
        due += 1 / READS
    connection.close()


async def log_in(settings: Settings, seen: Seen, email: str) -> None:
    loop = asyncio.get_running_loop()
    connection, asked = Connection(settings.port), loop.time()
    form = f"username={quote_plus(email)}&password={quote_plus(settings.password)}"
    status = await connection.ask("POST /login", form)
    seen.add(loop.time() - asked, status)
    connection.close()


async def main(settings: Settings) -> dict[str, Seen]:
    reader, logins = Seen(), Seen()
    emails = cycle(settings.emails)
    async with asyncio.TaskGroup() as group:
        group.create_task(read(settings, reader))
        for _ in range(max(int(settings.seconds * LOGINS), 1)):
            group.create_task(log_in(settings, logins, next(emails)))
            await asyncio.sleep(1 / LOGINS)
    return {"reader": reader, "logins": logins}


if __name__ == "__main__":
    found = uvloop.run(main(Settings(**json.load(sys.stdin))))
    print(json.dumps({who: asdict(seen) for who, seen in found.items()}))
