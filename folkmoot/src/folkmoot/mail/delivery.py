"""Delivery: what is in the outbox is sent, by whichever worker comes first."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from folkmoot.mail import links, messages, outbox
from folkmoot.mail.couriers import LogCourier, NotNowError, RefusedError, SmtpCourier
from folkmoot.mail_settings import parse_mailbox, parse_smtp
from folkmoot.postgres.pool import transaction
from folkmoot.settings import verifying_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from folkmoot.mail.couriers import Courier
    from folkmoot.mail.messages import Letter
    from folkmoot.mail.outbox import Mail
    from folkmoot.postgres.pool import Pool
    from folkmoot.settings import Settings

#: How many links of one purpose an account gets in an hour, whoever asks for them.
PER_HOUR = 5
#: Where links lead that the log shows, and nobody sends.
_NOBODY = "folkmoot@localhost.localdomain"
#: How long a stop waits for a letter that is being sent, in seconds: broken off, it may come twice.
_STOP_SECONDS = 5.0

_log = structlog.stdlib.get_logger("folkmoot")

# As a login finds an account: by the exact spelling, or without regard to case.
_ACCOUNT = """
    SELECT id::bigint, email FROM users
     WHERE id = $1::bigint OR email = $2 OR (lower(email) = lower($2) AND NOT duplicate_email)
     ORDER BY email = $2 DESC LIMIT 1
"""


@dataclass(frozen=True)
class Pace:
    """How often mail is looked for, and when it is tried again: later each time."""

    look: timedelta = timedelta(seconds=5)
    first: timedelta = timedelta(seconds=10)
    most: timedelta = timedelta(minutes=15)

    def delay(self, attempts: int) -> timedelta:
        doubled: int = 2 ** min(attempts - 1, 20)
        return min(self.first * doubled, self.most)


class Delivery:
    """Sends what is in the outbox of a database, with others who do the same."""

    def __init__(self, pool: Pool, courier: Courier, settings: Settings, pace: Pace | None = None) -> None:
        self._pool = pool
        self._courier = courier
        self._pace = pace or Pace()
        self._keys = verifying_keys(settings)
        self._origin = settings.origin
        self._sender = parse_mailbox(settings.mail_from or _NOBODY)
        self._awake = asyncio.Event()
        self._stopping = False
        #: What was sent and could not be taken out of the outbox: the database was away just then.
        self._sent: list[Mail] = []

    def wake(self) -> None:
        """Say that a mail was written; call it after the commit. Nobody waits for what comes of it."""
        self._awake.set()

    async def run(self) -> None:
        """Send what is due, again and again."""
        while not self._stopping:
            self._awake.clear()
            try:
                await self.deliver()
            except Exception as error:  # noqa: BLE001 - whatever it was, the mail is there, and so is the next
                _log.warning("mail_failed", reason=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look.total_seconds()):
                    await self._awake.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside a block; at its end a letter that is being sent is let through."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._stopping = True
            self.wake()
            await asyncio.wait({task}, timeout=_STOP_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def deliver(self) -> int:
        """Send what is due now; returns how many were sent."""
        number = 0
        while self._sent:
            await outbox.done(self._pool, self._sent[-1])
            self._sent.pop()
        await links.drop_expired(self._pool)
        try:
            while not self._stopping and (mail := await outbox.claim(self._pool)) is not None:
                number += await self._send(mail)
        except NotNowError:  # the others would not be taken, either
            pass
        finally:
            await self._courier.close()
        return number

    async def _send(self, mail: Mail) -> bool:
        letter = await self._letter(mail)
        if letter is None:
            return False
        about = {"purpose": mail.purpose.name, "mail_id": mail.id, "account_id": letter.account_id}
        try:
            await self._courier.send(letter)
        except RefusedError as error:
            _log.warning("mail_refused", reason=str(error), **about)
            await outbox.done(self._pool, mail)
            return False
        except NotNowError as error:
            _log.warning("mail_put_off", reason=str(error), attempts=mail.attempts, **about)
            await outbox.put_off(self._pool, mail, self._pace.delay(mail.attempts), str(error))
            if error.away:
                raise
            return False
        self._sent.append(mail)
        _log.info("mail_sent", attempts=mail.attempts, **about)
        await outbox.done(self._pool, mail)
        self._sent.remove(mail)
        return True

    async def _letter(self, mail: Mail) -> Letter | None:
        """What is to be sent; None where nothing is, and then the mail is taken out of the outbox."""
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_ACCOUNT, mail.user_id, mail.address)
            reason = ""
            secret = links.token(self._keys[0], mail.purpose, mail.nonce)
            if row is None:
                reason = "no account"
            elif mail.late:
                reason = "too late"
            elif mail.link is None:
                if await links.recent(connection, mail.purpose, row["id"]) >= PER_HOUR:
                    reason = "too many"
                else:
                    hashed = links.digest(secret)
                    await links.add(connection, mail.purpose, row["id"], hashed)
                    await outbox.make_out(connection, mail, row["id"], hashed)
            elif await links.holder(connection, mail.purpose, mail.link) is None:
                reason = "the link is good for nothing any more"
            else:  # by the key that it was made with, which may be the one before
                made = (links.token(key, mail.purpose, mail.nonce) for key in self._keys)
                secret = next((each for each in made if links.digest(each) == mail.link), "")
                reason = "" if secret else "the key was changed"
            if row is not None and not reason:
                try:
                    return messages.written(
                        mail, account_id=row["id"], address=row["email"], sender=self._sender,
                        origin=self._origin, secret=secret,
                    )  # fmt: skip
                except messages.NoAddressError:
                    reason = "no mail address"
            await outbox.done(connection, mail)
        if row is not None:
            about = {"purpose": mail.purpose.name, "mail_id": mail.id, "account_id": row["id"]}
            _log.warning("mail_dropped", reason=reason, **about)
        return None


def made(pool: Pool, settings: Settings) -> Delivery | None:
    """The delivery that the settings ask for: by SMTP, into the log of the embedded mode, or none at all."""
    if settings.smtp_url is not None:
        sender = parse_mailbox(settings.mail_from or "").addr_spec
        server = parse_smtp(settings.smtp_url.get_secret_value())
        return Delivery(pool, SmtpCourier(server, sender), settings)
    return Delivery(pool, LogCourier(), settings) if settings.embedded else None
