"""Passwords: hashed away from the event loop, one at a time, logins before registrations.

A hash takes tens of milliseconds of a processor by design. So that a storm of logins does not starve
everything else, each worker has one process of low priority that hashes, and few may wait for it.
It is no thread: one of low priority, put aside while it holds Python's lock, would hold up the worker.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from argon2 import PasswordHasher

from folkmoot.http.problems import Unavailable
from folkmoot.people import hashing
from folkmoot.people.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

#: OWASP's parameters (Password Storage Cheat Sheet), of equal strength as those with more memory. No priority
#: keeps the memory bus free: with the 64 MiB of RFC 9106's second choice a hash takes ten times as long here,
#: and the feed waits for it.
HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_STOPPING = "The service is being stopped."


class Passwords:
    """Hashes and checks passwords for one worker process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        hasher = hasher or HASHER
        self._costs = hasher.time_cost, hasher.memory_cost, hasher.parallelism
        self._turns = Turns()
        #: Wait for the worker's turn to hash. Hold no database connection while waiting: the pool is for
        #: requests that can be answered now.
        self.turn = self._turns.turn
        self._closed = False
        self._pool = self._start()

    def close(self) -> None:
        """End the process at once, whatever it is at; who waits for it is told that the service stops."""
        self._closed = True
        # From Python 3.14 on this is `kill_workers`. A pool that has ended has none.
        for process in list((self._pool._processes or {}).values()):  # noqa: SLF001
            process.kill()
        self._pool.shutdown()

    async def hash(self, password: str, *, registering: bool = False) -> str:
        """Hash a new password, in a turn of its own."""
        async with self.turn(registering=registering):
            return await self._compute(hashing.hash_password, self._costs, password)

    async def verify(
        self, password: str, hashed: str | None, bcrypt_cost: int | None = None
    ) -> tuple[bool, str | None]:
        """Check a password; call it within a turn.

        Returns whether it is right and, where the stored hash is to be replaced, the new one. Takes as long
        for an unknown account (None) as for any other; `bcrypt_cost` is that of the dearest hash of bcrypt in
        the database, if it has any.
        """
        return await self._compute(hashing.verify, self._costs, password, hashed, bcrypt_cost)

    async def _compute(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Have the process compute something; raises Unavailable where the process ends meanwhile."""
        if self._closed:
            raise Unavailable(_STOPPING)
        question = partial(function, *args, **kwargs)
        try:
            working = self._pool.submit(question)
        except BrokenProcessPool:  # it ended while nobody asked
            self._replace()
            working = self._pool.submit(question)
        try:
            return await asyncio.wrap_future(working)
        except BrokenProcessPool:
            if self._closed:
                raise Unavailable(_STOPPING) from None
            self._replace()
            raise Unavailable("Passwords cannot be checked now. Try again soon.") from None

    def _replace(self) -> None:
        self._pool.shutdown(wait=False)
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=hashing.begin)
        pool.submit(hashing.ready, self._costs)  # starts the process before anybody waits for it
        return pool
