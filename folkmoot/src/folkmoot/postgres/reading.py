"""Where a request reads, where there are replicas (docs/replicas.md).

Who asks has seen the log up to a position: that of their last write, or of the last answer from the primary.
It is kept in the primary, by person and by client, so that all workers know it, and clients need not carry
anything. A replica that has not replayed as much is not asked.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from structlog.contextvars import bind_contextvars

from folkmoot.postgres.pool import INSERTED
from folkmoot.postgres.replicas import MissedError
from folkmoot.postgres.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from folkmoot.postgres.pool import Connection
    from folkmoot.postgres.replicas import Replicas

_T = TypeVar("_T")
_SCOPE = "folkmoot.reading"
#: Whose position is everybody's: as far as the log went when the table was found empty, after a crash.
_FLOOR = b""
#: The position that those of `:keys` have seen; null where the table is empty.
SEEN = """
    SELECT CASE WHEN bool_or(key = '') THEN max(position) END AS seen
      FROM seen_positions WHERE key = ANY (CAST(:keys AS bytea[]))
"""
# In the order of the keys, so that two of them at once do not wait for each other.
_NOTE = f"""
    INSERT INTO seen_positions AS s (key, position)
    SELECT key, ({INSERTED}) FROM unnest($1::bytea[]) AS key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET position = excluded.position WHERE s.position < excluded.position
"""
_NOTE_FLOOR = f"""
    INSERT INTO seen_positions (key, position) VALUES ($1, ({INSERTED})) ON CONFLICT DO NOTHING
"""
_SEEN = Statement(SEEN)


class Reading:
    """Where one request reads, and for whom."""

    def __init__(self, replicas: Replicas, client: str) -> None:
        self._replicas = replicas
        self._whose = f"client {client}"
        self._keys = {_key(self._whose), _FLOOR}
        self._seen: int | None = None
        #: Whether something came from the primary; then all that comes after it does, too.
        self.primary = False

    def about(self, user_id: int) -> None:
        """Note that the request is a person's."""
        self._whose = f"person {user_id}"
        self._keys.add(_key(self._whose))

    @property
    def keys(self) -> list[bytes]:
        """What stands for whoever asks."""
        return sorted(self._keys)

    @property
    def known(self) -> bool:
        """Whether it is known how far whoever asks has seen."""
        return self._seen is not None or self.primary

    async def begin(self, seen: int | None) -> None:
        """Go on from what was seen, as SEEN says it."""
        self._seen = seen
        if seen is None:
            await self._replicas.pool.execute(_NOTE_FLOOR, _FLOOR)
            self.primary = True

    async def run(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Do what only reads: on the replica of whoever asks, or else, once, on the primary."""
        if not self.known:
            await self.begin(await _SEEN.value(self._replicas.pool, keys=self.keys))
        if not self.primary:
            # Always the same one: another may be further behind.
            home = self._replicas.each[crc32(self._whose.encode()) % len(self._replicas.each)]
            try:
                found = await home.run(self._seen or 0, work)
            except MissedError:
                self.primary = True
            else:
                bind_contextvars(read_from=home.name)
                return found
        async with self._replicas.pool.acquire() as connection:
            return await work(connection)

    async def note(self) -> None:
        """Note that whoever asked has seen the primary as it is."""
        bind_contextvars(read_from="primary")
        await self._replicas.pool.execute(_NOTE, sorted(self._keys - {_FLOOR}))


def _key(whose: str) -> bytes:
    # Hashed, so that the table tells nobody who was here.
    return hashlib.sha256(whose.encode("utf-8", "replace")).digest()


def begin(request: Request) -> Reading | None:
    """Where a request reads; None where there are no replicas."""
    replicas: Replicas | None = getattr(request.app.state, "replicas", None)
    if replicas is None:
        return None
    made = request.scope[_SCOPE] = Reading(replicas, request.client.host if request.client else "")
    return made


def about(request: Request, user_id: int) -> None:
    """Note that a request is a person's."""
    found: Reading | None = request.scope.get(_SCOPE)
    if found is not None:
        found.about(user_id)


def of(request: Request) -> Reading | None:
    """Where a request that changes nothing reads; None where that is the primary alone."""
    found: Reading | None = request.scope.get(_SCOPE)
    return found if request.method in SAFE else None


def from_primary(request: Request) -> None:
    """Note that a request reads what the primary has now."""
    found: Reading | None = request.scope.get(_SCOPE)
    if found is not None:
        found.primary = True


#: Methods that change nothing (RFC 9110, 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
