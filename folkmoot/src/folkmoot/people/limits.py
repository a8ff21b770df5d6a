"""How often a client or a person may do what costs much: counted in the database, so that all workers count
together. What is counted is one statement on a table that is not logged.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from folkmoot.http.problems import TooManyRequests
from folkmoot.people import events

if TYPE_CHECKING:
    from fastapi import Request

    from folkmoot.postgres.pool import Connection, Pool
    from folkmoot.settings import Settings


@dataclass(frozen=True)
class Limit:
    """So many of something in a time; the setting that says how many, 0 for no limit."""

    what: str
    setting: str
    window: timedelta

    def most(self, settings: Settings) -> int:
        most: int = getattr(settings, self.setting)
        return most


REGISTRATIONS = Limit("registrations", "registrations_per_hour", timedelta(hours=1))
REFRESHES = Limit("refreshes of a login", "refreshes_per_minute", timedelta(minutes=1))
PASSWORD_RESETS = Limit("password resets", "password_resets_per_hour", timedelta(hours=1))
SEARCHES = Limit("searches", "searches_per_minute", timedelta(minutes=1))
WRITES = Limit("changes", "writes_per_minute", timedelta(minutes=1))
EXPORTS = Limit("exports", "exports_per_hour", timedelta(hours=1))

_COUNT = """
    INSERT INTO request_counts AS c (key, requests, until) VALUES ($1, 1, now() + $2::interval)
    ON CONFLICT (key) DO UPDATE
       SET requests = CASE WHEN c.until > now() THEN c.requests + 1 ELSE 1 END,
           until = CASE WHEN c.until > now() THEN c.until ELSE excluded.until END
    RETURNING requests, extract(epoch FROM until - now())::float8 AS seconds
"""
# Some more than are added, so that the table stays as small as the last hour.
_FORGET_OLD = """
    DELETE FROM request_counts WHERE key IN
    (SELECT key FROM request_counts WHERE until < now() ORDER BY until LIMIT 10 FOR UPDATE SKIP LOCKED)
"""


async def count(
    request: Request, connection: Pool | Connection, limit: Limit, *, user_id: int | None = None
) -> None:
    """Count a request against the person who makes it or, where nobody is logged in, against the client.

    Raises TooManyRequests where there were too many.
    """
    most = limit.most(request.app.state.settings)
    if not most:
        return
    whose = f"client {network_of(client_of(request))}" if user_id is None else f"person {user_id}"
    row = await connection.fetchrow(_COUNT, hashed(limit.setting, whose), limit.window)
    assert row is not None  # noqa: S101 - an INSERT that does not leave a row out
    if row["requests"] == 1:
        await connection.execute(_FORGET_OLD)
    if row["requests"] > most:
        if row["requests"] == most + 1:  # told once, and not with each of a flood
            events.note("limited", request, account_id=user_id, limit=limit.setting)
        raise TooManyRequests(limit.what, most, limit.window, max(1, math.ceil(row["seconds"])))


def client_of(request: Request) -> str:
    """The address of who is asking; behind a proxy it is right where TRUSTED_PROXIES names that proxy."""
    return request.client.host if request.client else ""


def network_of(client: str) -> str:
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


def hashed(*parts: str) -> bytes:
    """The key of a count. Hashed, so that the table tells nobody which addresses somebody tried."""
    text = "\x00".join(parts).encode("utf-8", "replace")
    return hashlib.sha256(text).digest()
