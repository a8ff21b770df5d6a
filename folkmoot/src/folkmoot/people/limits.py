"""How often a login may fail, counted in the database so that all workers count together.

Three things are counted over a quarter of an hour: failures for an address from one client, from one client
whatever the address, and for one address whatever the client. Nobody can lock an owner out: the first two
stop the client that fails and no other, and the third only leaves every further client fewer tries.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import Request

    from folkmoot.postgres.pool import Connection


def client_of(request: Request) -> str:
    """The address of who is asking; behind a proxy it is right where TRUSTED_PROXIES names that proxy."""
    return request.client.host if request.client else ""


WINDOW = timedelta(minutes=15)
#: Failures for one address from one client.
PAIR_LIMIT = 10
#: The same while the address is under attack from many.
PAIR_LIMIT_UNDER_ATTACK = 2
#: Failures for one address from all clients, from which on it counts as under attack.
ADDRESS_ATTACKED = 50
#: Failures from one client. Many people may share one, so those who are logged in there are not stopped.
CLIENT_LIMIT = 100

_COUNTS = """
    SELECT key, failures, extract(epoch FROM until - now())::float8 AS seconds
      FROM login_failures WHERE key = ANY ($1::bytea[]) AND until > now()
"""
_NOTE = """
    INSERT INTO login_failures AS f (key, failures, until)
    SELECT key, 1, now() + $2::interval FROM unnest($1::bytea[]) AS key ORDER BY key
    ON CONFLICT (key) DO UPDATE
       SET failures = CASE WHEN f.until > now() THEN f.failures + 1 ELSE 1 END,
           until = CASE WHEN f.until > now() THEN f.until ELSE excluded.until END
"""
# Some more than are added, so that the table stays as small as the last quarter of an hour.
_FORGET_OLD = """
    DELETE FROM login_failures WHERE key IN
    (SELECT key FROM login_failures WHERE until < now() ORDER BY until LIMIT 10 FOR UPDATE SKIP LOCKED)
"""
_FORGET = "DELETE FROM login_failures WHERE key = $1"


class Attempts:
    """The attempts to log in to one address from one client."""

    def __init__(self, email: str, client: str) -> None:
        network = _network(client)
        self._pair = _key("pair", email.lower(), network)
        self._address = _key("address", email.lower())
        self._client = _key("client", network)

    async def wait(self, connection: Connection, *, known: bool) -> int:
        """How many seconds to wait before the next attempt; 0 is none. `known`: has a session from there."""
        rows = await connection.fetch(_COUNTS, [self._pair, self._address, self._client])
        counts: dict[bytes, tuple[int, float]] = {
            row["key"]: (row["failures"], row["seconds"]) for row in rows
        }
        failed, seconds = counts.get(self._pair, (0, 0.0))
        attacked = counts.get(self._address, (0, 0.0))[0] >= ADDRESS_ATTACKED
        if failed >= (PAIR_LIMIT_UNDER_ATTACK if attacked and not known else PAIR_LIMIT):
            return max(1, math.ceil(seconds))
        failed, seconds = counts.get(self._client, (0, 0.0))
        if failed >= CLIENT_LIMIT and not known:
            return max(1, math.ceil(seconds))
        return 0

    async def failed(self, connection: Connection) -> None:
        """Count a failure."""
        # In a fixed order: two at once must not wait for each other.
        await connection.execute(_NOTE, sorted([self._pair, self._address, self._client]), WINDOW)
        await connection.execute(_FORGET_OLD)

    async def succeeded(self, connection: Connection) -> None:
        """Forget the failures for this address from this client; the other counts may be an attacker's."""
        await connection.execute(_FORGET, self._pair)


def _key(*parts: str) -> bytes:
    # Hashed, so that the table tells nobody which addresses somebody tried.
    text = "\x00".join(parts).encode("utf-8", "replace")
    return hashlib.sha256(text).digest()


def _network(client: str) -> str:
    """A client's address, or the /64 that one subscriber has of IPv6."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
