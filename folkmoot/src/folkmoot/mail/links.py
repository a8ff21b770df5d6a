"""Links that are sent by mail: each is good for one use, for a time, and while what it is about stands.

A link is in no table, not even while its mail waits: it is made of a random number in the outbox and of the
service's key, anew at each attempt to send it. Of a link that was made the database has a hash.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

    from folkmoot.postgres.pool import Connection, Pool


@dataclass(frozen=True)
class Purpose:
    """What a link is for. Its mail is tried for half of its life, so that it can be used when it arrives."""

    name: str
    lifetime: timedelta
    #: The first part of the path of the page that it opens.
    path: str

    @property
    def tried(self) -> timedelta:
        return self.lifetime / 2


VERIFY = Purpose("verify", timedelta(days=4), "verify")
RESET = Purpose("reset", timedelta(hours=2), "reset")
PURPOSES = {purpose.name: purpose for purpose in (VERIFY, RESET)}

#: What a link is about, of a user `u`: it is good for nothing once that is another. A link to a new password
#: dies with the old one, and each with the address that it was sent to.
_STATE = """
    sha256(convert_to(u.email || CASE {purpose} WHEN 'reset' THEN chr(10) || u.password ELSE '' END, 'UTF8'))
"""
_ADD = f"""
    INSERT INTO email_links (hash, user_id, purpose, state, expires_at)
    SELECT $1, u.id, $3::text, {_STATE.format(purpose="$3::text")}, now() + $4::interval
      FROM users AS u WHERE u.id = $2::bigint
"""
_HOLDER = f"""
    SELECT u.id::bigint, u.email, u.display_name FROM email_links AS l JOIN users AS u ON u.id = l.user_id
     WHERE l.hash = $1 AND l.purpose = $2 AND l.expires_at > now()
       AND l.state = {_STATE.format(purpose="l.purpose")}
"""
_USE = "DELETE FROM email_links WHERE hash = $1 RETURNING user_id::bigint"
_RECENT = """
    SELECT count(*) FROM email_links
     WHERE user_id = $1::bigint AND purpose = $2 AND created_at > now() - interval '1 hour'
"""
_DROP_EXPIRED = "DELETE FROM email_links WHERE expires_at <= now()"


def token(key: str, purpose: Purpose, nonce: bytes) -> str:
    """The secret part of a link: 256 bits, the same for the same key and number."""
    text = b"link in mail\x00" + purpose.name.encode() + b"\x00" + nonce
    return urlsafe_b64encode(hmac.digest(key.encode(), text, "sha256")).decode().rstrip("=")


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def add(connection: Connection, purpose: Purpose, user_id: int, hashed: bytes) -> None:
    await connection.execute(_ADD, hashed, user_id, purpose.name, purpose.lifetime)


async def recent(connection: Connection, purpose: Purpose, user_id: int) -> int:
    """How many of these were made for a person within the last hour."""
    number: int = await connection.fetchval(_RECENT, user_id, purpose.name)
    return number


async def holder(connection: Connection | Pool, purpose: Purpose, hashed: bytes) -> asyncpg.Record | None:
    """Whose link it is, as long as it is good; it stays so."""
    return await connection.fetchrow(_HOLDER, hashed, purpose.name)


async def use(connection: Connection, purpose: Purpose, secret: str) -> asyncpg.Record | None:
    """Use a link up: whose it was, or None where it is not good (any more). Locks the account's row."""
    values: tuple[Any, ...] = digest(secret), purpose.name
    # The account first, as whoever deletes an account locks it before its links. Of two who use one link at
    # once, one waits here and finds it gone.
    row = await connection.fetchrow(_HOLDER + " FOR NO KEY UPDATE OF u", *values)
    if row is None or await connection.fetchval(_USE, values[0]) is None:
        return None
    return row


async def drop_expired(connection: Connection | Pool) -> None:
    await connection.execute(_DROP_EXPIRED)
