"""Whose turn it is to have a password hashed: one at a time, logins before registrations, no long queues."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from folkmoot.http.problems import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: How many may wait for a turn in one worker: people who log in, and people who register.
LOGINS_WAITING, REGISTRATIONS_WAITING = 200, 100
#: How long they wait, in seconds.
PATIENCE = 10.0


class Turns:
    """Lets one in at a time: those who log in first, and among them who came first."""

    def __init__(self) -> None:
        self._taken = False
        self._logins: deque[asyncio.Future[None]] = deque()
        self._registrations: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, registering: bool = False) -> AsyncIterator[None]:
        """Wait for a turn, and hold it; raises Unavailable where too many wait, or it takes too long."""
        await self._enter(registering=registering)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, *, registering: bool) -> None:
        if not self._taken:
            self._taken = True
            return
        queue, most = (
            (self._registrations, REGISTRATIONS_WAITING) if registering else (self._logins, LOGINS_WAITING)
        )
        if len(queue) >= most:
            raise _busy(registering=registering)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            async with asyncio.timeout(PATIENCE):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._leave()  # it was given to us just now
            elif mine in queue:
                queue.remove(mine)
            if isinstance(error, TimeoutError):
                raise _busy(registering=registering) from None
            raise

    def _leave(self) -> None:
        for queue in (self._logins, self._registrations):
            while queue:
                waiting = queue.popleft()
                if not waiting.done():
                    waiting.set_result(None)
                    return
        self._taken = False


def _busy(*, registering: bool) -> Unavailable:
    what = "registering" if registering else "logging in"
    return Unavailable(f"Too many people are {what}. Try again soon.", retry_after=5)
