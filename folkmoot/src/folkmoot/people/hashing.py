"""What the process that hashes passwords computes: argon2id (RFC 9106), and bcrypt for accounts of old.

Imported there and nowhere else, and by itself: it is all that such a process holds.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from functools import cache
from multiprocessing import parent_process

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: Passes, KiB of memory, lanes.
Costs = tuple[int, int, int]

#: A hash of bcrypt. The dearest that is computed takes some seconds.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}")
#: What bcrypt heeds of a password, in bytes.
_BCRYPT_LENGTH = 72


def begin() -> None:
    """Prepare the process: behind whoever serves, and not outliving the worker that it hashes for."""
    os.nice(10)
    # Ctrl-C reaches the whole group, and the worker says when to end; its own mask was passed on to us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_the_worker, daemon=True).start()


def _end_with_the_worker() -> None:
    worker = parent_process()
    if worker is not None:
        worker.join()
        os._exit(0)


def hash_password(costs: Costs, password: str) -> str:
    """Hash a new password."""
    return _hasher(costs)[0].hash(_bytes(password))


def verify(
    costs: Costs, password: str, hashed: str | None, bcrypt_cost: int | None
) -> tuple[bool, str | None]:
    """Say whether a password is right, and give a new hash where the stored one should be replaced.

    Whatever the stored hash is, the same is computed: one hash of argon2 and, where the database has hashes
    of bcrypt, of which `bcrypt_cost` is the dearest, one of that cost. So it takes as long for an unknown
    account (None), for one that nobody can log in to, and for one with a hash of either kind.
    """
    hasher, decoy = _hasher(costs)
    secret = _bytes(password)
    right = _verify_argon2(hasher, decoy, secret, hashed)
    found = hashed if hashed and _BCRYPT.fullmatch(hashed) else None
    if found or bcrypt_cost:
        right |= _verify_bcrypt(secret, found, bcrypt_cost or 0)
    if not right or hashed is None:
        return False, None
    if found:
        # bcrypt cannot tell a password that is longer from others that begin alike: what was sent may not be
        # the password, and its hash must not take the place of the one that is.
        return True, hasher.hash(secret) if len(secret) <= _BCRYPT_LENGTH else None
    return True, hasher.hash(secret) if hasher.check_needs_rehash(hashed) else None


@cache
def _hasher(costs: Costs) -> tuple[PasswordHasher, str]:
    """The hasher, and a hash that no password has."""
    hasher = PasswordHasher(*costs)
    return hasher, hasher.hash(os.urandom(16))


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _verify_argon2(hasher: PasswordHasher, decoy: str, secret: bytes, hashed: str | None) -> bool:
    for candidate in (hashed, decoy):
        if candidate is None or not candidate.startswith("$argon2"):
            continue
        try:
            hasher.verify(candidate, secret)
        except InvalidHashError:
            continue
        except VerificationError:
            return False
        return candidate is hashed
    return False


def _verify_bcrypt(secret: bytes, hashed: str | None, dearest: int) -> bool:
    """Compute bcrypt 2**dearest times over, one of these for the hash that is to be verified."""
    heeded = secret[:_BCRYPT_LENGTH]
    # Hashes of old end at a NUL; a password that has one was never hashed so.
    computed = heeded.replace(b"\x00", b"\x01")
    cost, right = dearest, False
    if hashed is not None:
        cost = int(hashed[4:6])
        right = bcrypt.checkpw(computed, hashed.encode()) and computed == heeded
    else:
        bcrypt.hashpw(computed, bcrypt.gensalt(dearest))
    # 2**cost of it is done: 2**cost + 2**(cost + 1) + … more make it 2**dearest.
    for more in range(cost, dearest):
        bcrypt.hashpw(computed, bcrypt.gensalt(more))
    return right


def ready(costs: Costs) -> None:
    """Compute what is needed before the first question."""
    _hasher(costs)
