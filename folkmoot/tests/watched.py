"""How long a request keeps the event loop from everybody else: measured in the worker, by a task beside it.

For tests: nothing of it is in the application. `Watched` wraps it and answers two more paths.
"""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

#: The longest hold, in ms, since it was last asked for.
HOLD = "/-/hold"
#: How many connections of the pool are in use.
POOL = "/-/pool"
#: Under which name tests record a hold, in ms: the longest of the run is told at its end.
HELD = "held"
#: How often the task looks, in seconds.
_PAUSE = 0.002


class Watched:
    """An application, and a task in its event loop that notes how late it is woken."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application
        self._watching: asyncio.Task[None] | None = None
        self._longest = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._watching = self._watching or asyncio.create_task(self._watch())
            if scope["path"] == HOLD:
                longest, self._longest = self._longest, 0.0
                await _answer(send, longest)
                return
            if scope["path"] == POOL:
                pool = self._application.state.pool
                await _answer(send, pool.get_size() - pool.get_idle_size())
                return
        await self._application(scope, receive, send)

    async def _watch(self) -> None:
        while True:
            began, waited = perf_counter(), _waited_for_a_processor()
            await asyncio.sleep(_PAUSE)
            late = perf_counter() - began - _PAUSE - (_waited_for_a_processor() - waited)
            self._longest = max(self._longest, late * 1000)


def _waited_for_a_processor() -> float:
    """How long this thread was ready and had no processor, in seconds: not the application's doing."""
    statistics = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0


async def _answer(send: Send, content: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
