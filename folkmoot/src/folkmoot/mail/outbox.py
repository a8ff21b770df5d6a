"""The outbox: mail that is to be sent, written in the transaction that causes it.

Who sends a mail claims it: it is put off for CLAIMED, within which it is sent or put off anew. So two never
send the same at once, no transaction is open meanwhile, and what a killed process had claimed is due again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from folkmoot.mail.links import PURPOSES, Purpose

if TYPE_CHECKING:
    from folkmoot.postgres.pool import Connection, Pool

#: For how long nobody else tries a mail that somebody sends.
CLAIMED = timedelta(minutes=5)


@dataclass(frozen=True)
class Mail:
    """A mail in the outbox."""

    id: int
    purpose: Purpose
    user_id: int | None
    address: str | None
    nonce: bytes
    link: bytes | None
    created_at: datetime
    attempts: int
    #: Whether it is too late for it.
    late: bool


_PUT = "INSERT INTO outbox (purpose, user_id, address, nonce) VALUES ($1, $2, $3, $4)"
_CLAIM = """
    UPDATE outbox SET attempts = attempts + 1, due_at = now() + $1::interval
     WHERE id = (SELECT id FROM outbox WHERE due_at <= now() ORDER BY due_at, id LIMIT 1
                    FOR UPDATE SKIP LOCKED)
    RETURNING id, purpose, user_id, address, nonce, link, created_at, attempts, now() - created_at AS age
"""
_MADE_OUT = "UPDATE outbox SET user_id = $2, address = NULL, link = $3 WHERE id = $1"
# Whoever has claimed it since has raised the number.
_PUT_OFF = """
    UPDATE outbox SET due_at = now() + $3::interval, error = $4 WHERE id = $1 AND attempts = $2
"""
_DONE = "DELETE FROM outbox WHERE id = $1"


async def put(
    connection: Connection | Pool, purpose: Purpose, *, user_id: int | None = None, address: str | None = None
) -> None:
    """Write a mail down: to a person, or to whoever has an account by this address, should somebody."""
    await connection.execute(_PUT, purpose.name, user_id, address, secrets.token_bytes(16))


async def claim(pool: Pool) -> Mail | None:
    """Take the mail that has been due for longest; None where none is due, or others have claimed it."""
    row = await pool.fetchrow(_CLAIM, CLAIMED)
    if row is None:
        return None
    values = dict(row)
    purpose, age = PURPOSES[values.pop("purpose")], values.pop("age")
    return Mail(**values, purpose=purpose, late=age > purpose.tried)


async def make_out(connection: Connection, mail: Mail, user_id: int, link: bytes) -> None:
    """Note whom it goes to, and the hash of its link."""
    await connection.execute(_MADE_OUT, mail.id, user_id, link)


async def put_off(pool: Pool, mail: Mail, delay: timedelta, error: str) -> None:
    await pool.execute(_PUT_OFF, mail.id, mail.attempts, delay, error)


async def done(connection: Connection | Pool, mail: Mail) -> None:
    """Take a mail out: it was sent, or never will be."""
    await connection.execute(_DONE, mail.id)
