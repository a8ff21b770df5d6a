"""The process that hashes passwords for one worker: lines of JSON in and out, until its input ends.

A process, not a thread: at low priority a thread that is put aside while it holds Python's lock would hold up
the worker's event loop with it. No standing with the scheduler (`scheduling`) makes a process that computes
harmless: where everything else is busy, others wait for it. So those of all workers together leave one
processor free, and keep to the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from folkmoot.people.scheduling import give_way, interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BCRYPT = ("$2a$", "$2b$", "$2y$")

#: How long to wait for others who hash, in seconds: anybody who may read the files can lock them.
_PATIENCE = 1.0


def verify(hasher: PasswordHasher, decoy: str, password: str, hashed: str | None) -> tuple[bool, str | None]:
    """Say whether a password is right, and give a new hash where the stored one has outdated parameters.

    No hash (None), and one that is no hash of anything, take as long as any other. A hash of bcrypt, as the
    course's own application makes, is replaced at the first login.
    """
    if hashed is not None and hashed.startswith(_BCRYPT):
        # bcrypt heeds 72 bytes; the libraries of old cut the rest off in silence.
        with suppress(ValueError):
            if bcrypt.checkpw(password.encode()[:72], hashed.encode()):
                return True, hasher.hash(password)
        return False, None
    try:
        hasher.verify(hashed or decoy, password)
    except InvalidHashError:
        with suppress(VerificationError):
            hasher.verify(decoy, password)
        return False, None
    except VerificationError:
        return False, None
    if hashed is None:
        return False, None
    return True, hasher.hash(password) if hasher.check_needs_rehash(hashed) else None


@dataclass(frozen=True)
class Slot:
    """The right to compute one hash: a file to lock, and the processor to use (where one can be chosen)."""

    file: IO[bytes]
    processor: int | None


def slots() -> list[Slot]:
    """One for each hash that may be computed at once on this machine: one fewer than processors.

    The files are this package's own, which all workers see; nothing is written to them. A lock on a file ends
    with its process, however that ends (flock(2)).
    """
    processors: list[int | None] = [None] * (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        processors = [*sorted(os.sched_getaffinity(0))]
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [
        Slot(file.open("rb"), processor)
        for file, processor in zip(files, processors[1:] or processors, strict=False)
    ]


@contextmanager
def _slot(all_slots: Sequence[Slot]) -> Iterator[None]:
    """Hold one of the slots, as soon as one is free; none where that takes too long, or the file system
    knows no locks.
    """
    own = os.getpid() % len(all_slots)
    held = all_slots[own]
    with suppress(OSError):
        for slot in (*all_slots[own:], *all_slots[:own]):
            with suppress(BlockingIOError):
                fcntl.flock(slot.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = slot
                break
        else:
            try:
                signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
                fcntl.flock(held.file, fcntl.LOCK_EX)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    if held.processor is not None:
        with suppress(OSError):
            os.sched_setaffinity(0, {held.processor})
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(held.file, fcntl.LOCK_UN)


def _enough(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    time_cost, memory_cost, parallelism = map(int, sys.argv[1:])
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the worker says when to end
    signal.signal(signal.SIGALRM, _enough)
    all_slots = slots()
    give_way()
    hasher = PasswordHasher(time_cost, memory_cost, parallelism)
    # What an unknown address is checked against, so that it takes as long as a known one.
    decoy = hasher.hash("nobody has this password")
    for line in sys.stdin:
        asked = json.loads(line)
        with _slot(all_slots), interrupted():
            if "hashed" in asked:
                answer: object = verify(hasher, decoy, asked["password"], asked["hashed"])
            else:
                answer = hasher.hash(asked["password"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
