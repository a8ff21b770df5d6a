"""How often a login may fail, counted in the database so that all workers count together.

Three things are counted over a quarter of an hour: failures for an address from one client, from one client
whatever the address, and for one address whatever the client. Nobody can lock an owner out: the first two
stop the client that fails and no other, and the third only leaves every further client fewer tries.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from folkmoot.people.limits import hashed, network_of

if TYPE_CHECKING:
    from folkmoot.postgres.pool import Connection


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
    """The attempts to log in to one account or address from one client."""

    def __init__(self, account_id: int | None, address: str, client: str) -> None:
        """Count by the account that was found, whatever it was called; otherwise by the address.

        `address` is folded as the database folds it: Python's lower case is another.
        """
        whose = f"address {address}" if account_id is None else f"account {account_id}"
        network = network_of(client)
        self._pair = hashed("pair", whose, network)
        self._address = hashed("address", whose)
        self._client = hashed("client", network)

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
