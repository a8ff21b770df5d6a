"""Passwords: argon2id (RFC 9106), away from the event loop, one at a time.

A hash takes tens of milliseconds of a core by design. So that a storm of logins does not starve everything
else, each worker has one process of low priority that hashes (`hashing`), and turns requests away when too
many wait for it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher

from folkmoot.http.problems import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: OWASP's parameters (Password Storage Cheat Sheet), of equal strength as those with more memory. No priority
#: keeps the memory bus free: with the 64 MiB of RFC 9106's second choice a hash takes ten times as long here,
#: and the feed waits for it.
HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
#: How many may wait for their turn in one worker; with the default parameters some seconds' worth.
WAITING_LIMIT = 200


class Passwords:
    """Hashes and checks passwords for one worker process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        hasher = hasher or HASHER
        costs = hasher.time_cost, hasher.memory_cost, hasher.parallelism
        self._command = [sys.executable, "-m", "folkmoot.people.hashing", *map(str, costs)]
        self._process = self._start()
        # The thread waits for the process; it computes nothing.
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._turns = asyncio.Semaphore(1)
        self._waiting = 0

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._stop()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the worker's turn to hash; raises Unavailable when too many wait already.

        Hold no database connection while waiting: the pool is for requests that can be answered now.
        """
        if self._waiting >= WAITING_LIMIT:
            raise Unavailable("Too many people are logging in or registering. Try again soon.", retry_after=5)
        self._waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self._waiting -= 1

    async def hash(self, password: str) -> str:
        """Hash a new password, in a turn of its own."""
        async with self.turn():
            hashed: str = await self._ask(password=password)
        return hashed

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Check a password; call it within a turn.

        Returns whether it is right and, where the stored hash has outdated parameters, a new hash to store.
        Takes as long for an unknown account (None) and one that nobody can log in to as for any other.
        """
        right, rehashed = await self._ask(password=password, hashed=hashed)
        return right, rehashed

    async def _ask(self, **question: str | None) -> Any:
        line = json.dumps(question) + "\n"
        answer = await asyncio.get_running_loop().run_in_executor(self._thread, partial(self._exchange, line))
        return json.loads(answer)

    def _exchange(self, line: str) -> str:
        for _ in range(2):
            process = self._process
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101
            try:
                process.stdin.write(line)
                process.stdin.flush()
                if answer := process.stdout.readline():
                    return answer
            except BrokenPipeError:
                pass
            # Somebody has killed it: the next one answers.
            self._stop()
            self._process = self._start()
        raise Unavailable("Passwords cannot be checked now. Try again soon.")

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii"
        )

    def _stop(self) -> None:
        """End the process: it ends with its input."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()
