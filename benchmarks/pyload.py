"""A load generator where there is no wrk: `pyload.py URL connections seconds`, requests from $REQUESTS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop


def _encode(line: str, host: str) -> bytes:
    method, path, token, *rest = line.split(" ", 3)
    body = rest[0] if rest else ""
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if "=" in token:
        head.append(f"Cookie: {token}")
    elif token != "-":
        head.append(f"Authorization: Bearer {token}")
    if body:
        kind = "application/json" if body.startswith("{") else "application/x-www-form-urlencoded"
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line[15:]))
    return int(head[9:12])


async def main(lines: list[str], url: str, connections: int, seconds: float) -> None:
    parts = urlsplit(url)
    requests = [_encode(line, parts.netloc) for line in lines]
    times: list[float] = []
    expected = {int(status) for status in os.environ["EXPECTED"].split()}
    failed = right = sent = 0
    end = time.perf_counter() + seconds

    async def connection() -> None:
        nonlocal failed, right, sent
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (began := time.perf_counter()) < end:
            writer.write(requests[sent % len(requests)])
            sent += 1
            status = await _answer(reader)
            right += status in expected
            failed += status >= 400 and status not in expected
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    times.sort()
    result = {
        "seconds": time.perf_counter() - began, "requests": len(times), "failed": failed, "expected": right,
        "p50": times[len(times) // 2] * 1e3, "p99": times[int(len(times) * 0.99)] * 1e3,
    }  # fmt: skip
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    read = Path(os.environ["REQUESTS"]).read_text().splitlines()
    uvloop.run(main(read, sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
