"""Passwords: argon2id (RFC 9106), off the event loop, a bounded number at a time.

A hash takes tens of milliseconds of a core by design. So that a storm of logins does not starve everything
else, each worker hashes one password at a time, in a thread of low priority, and turns requests away when too
many wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from folkmoot.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

#: How many may wait for their turn in one worker; with the default parameters some seconds' worth.
WAITING_LIMIT = 200
#: Hashing yields the core to whatever answers requests, and still gets a tenth of it when that is busy.
_NICENESS = 10


class Passwords:
    """Hashes and checks passwords for one worker process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._thread = ThreadPoolExecutor(1, "passwords", initializer=_lower_priority)
        self._turns = asyncio.Semaphore(1)
        self._waiting = 0
        # What an unknown address is checked against, so that it takes as long as a known one.
        self._decoy = self._hasher.hash("nobody has this password")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

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
            return await self._run(partial(self._hasher.hash, password))

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Check a password; call it within a turn.

        Returns whether it is right and, where the stored hash has outdated parameters, a new hash to store.
        Takes as long for an unknown account (None) and one that nobody can log in to as for any other.
        """
        return await self._run(partial(self._verify, password, hashed))

    def _verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        try:
            self._hasher.verify(hashed or self._decoy, password)
        except InvalidHashError:
            with suppress(VerificationError):
                self._hasher.verify(self._decoy, password)
            return False, None
        except VerificationError:
            return False, None
        if hashed is None:
            return False, None
        return True, self._hasher.hash(password) if self._hasher.check_needs_rehash(hashed) else None

    async def _run(self, work: partial[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _lower_priority() -> None:
    # On Linux a priority belongs to a thread; elsewhere it would be the whole process's, so it is left alone.
    with suppress(OSError, AttributeError):
        if os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
