"""How long a request keeps the event loop from everybody else: measured in the worker, by a task beside it.

For tests: nothing of it is in the application. `Watched` wraps it and answers some more paths. A thread
beside the loop says where the loop was while it was late.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

#: The longest hold since it was last asked for, as a `Hold`.
HOLD = "/-/hold"
#: How many connections of the pool are in use.
POOL = "/-/pool"
#: Has the garbage of all generations collected.
COLLECT = "/-/collect"
#: Which modules were imported since the first request.
IMPORTED = "/-/imported"
#: Under which name tests record a `Hold` as text: the longest of the run is told at its end.
HELD = "held"
#: How often the task looks, in seconds.
_PAUSE = 0.002
#: How late the task is when the thread looks where the loop is, in seconds, and how often that looks.
_LATE, _LOOK = 0.02, 0.005
#: How much of a stack is told: its innermost calls.
_CALLS = 6


@dataclass
class Hold:
    """How long the loop was held, and by what."""

    ms: float = 0.0
    #: The processor time of the worker meanwhile, in ms. Where it is little, the worker was not computing: it
    #: waited, or other processes had the processors.
    computed: float = 0.0
    #: The latest request then, and the innermost calls of the loop's thread.
    where: str = ""

    def __str__(self) -> str:
        return f"{self.ms:.1f} ms, {self.computed:.1f} of them computing; {self.where}"


class Watched:
    """An application, and a task in its event loop that notes how late it is woken."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application
        self._watching: asyncio.Task[None] | None = None
        self._modules: set[str] = set()
        self._longest = Hold()
        self._request = ""
        self._due = float("inf")
        self._where = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._watching is None:
                self._modules = set(sys.modules)
                self._watching = asyncio.create_task(self._watch())
                threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True).start()
            if scope["path"] == HOLD:
                longest, self._longest = self._longest, Hold()
                await _answer(send, asdict(longest))
                return
            if scope["path"] == POOL:
                pool = self._application.state.pool
                await _answer(send, pool.get_size() - pool.get_idle_size())
                return
            if scope["path"] == IMPORTED:
                await _answer(send, sorted(set(sys.modules) - self._modules))
                return
            self._request = f"{scope['method']} {scope['path'][:100]}"
            if scope["path"] == COLLECT:
                await _answer(send, gc.collect())
                return
        await self._application(scope, receive, send)

    async def _watch(self) -> None:
        while True:
            began, waited, computed = perf_counter(), _waited_for_a_processor(), process_time()
            self._due, self._where = began + _PAUSE, ""
            await asyncio.sleep(_PAUSE)
            late = perf_counter() - began - _PAUSE - (_waited_for_a_processor() - waited)
            if late * 1000 > self._longest.ms:
                where = f"{self._request} {self._where}".rstrip()
                self._longest = Hold(late * 1000, (process_time() - computed) * 1000, where)

    def _look(self, thread: int) -> None:
        """Note where the loop's thread is when the task is late: once, and in the thread that runs this."""
        while True:
            sleep(_LOOK)
            if perf_counter() - self._due > _LATE and not self._where:
                stack = traceback.extract_stack(sys._current_frames()[thread])  # noqa: SLF001 - as documented
                calls = [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in stack[-_CALLS:]]
                self._where = "in " + " > ".join(calls)


def _waited_for_a_processor() -> float:
    """How long this thread was ready and had no processor, in seconds: not the application's doing."""
    statistics = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(statistics.read_text().split()[1]) / 1e9 if statistics.exists() else 0.0


async def _answer(send: Send, content: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
