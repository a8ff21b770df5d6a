"""Who takes a letter: a mail server, or the log where none is set and the database is the embedded one."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol

import aiosmtplib
import structlog

if TYPE_CHECKING:
    from folkmoot.mail.messages import Letter
    from folkmoot.mail_settings import Smtp

_log = structlog.stdlib.get_logger("folkmoot")


#: How much of a reason is kept.
_REASON = 200


class NotNowError(Exception):
    """It was not taken, or nobody knows: try again. `away`: and no other letter would be taken now."""

    def __init__(self, reason: str, *, away: bool = False) -> None:
        super().__init__(reason)
        self.away = away


class RefusedError(Exception):
    """It will never be taken."""


class Courier(Protocol):
    """Takes letters."""

    async def send(self, letter: Letter) -> None:
        """Hand a letter over; raises NotNowError and RefusedError."""

    async def close(self) -> None:
        """Say that there are no more for now."""


class LogCourier:
    """Shows the link in the log, whatever its level, for whoever tries Folkmoot on their own machine."""

    async def send(self, letter: Letter) -> None:
        _log.warning(
            "mail_not_sent", reason="SMTP_URL is not set", account_id=letter.account_id,
            purpose=letter.purpose.name, link=letter.link,
        )  # fmt: skip

    async def close(self) -> None:
        pass


class SmtpCourier:
    """Talks to a mail server (RFC 5321): over one connection while there is mail."""

    #: How long one letter may take, in seconds, connecting included: less than outbox.CLAIMED.
    patience = 60.0

    def __init__(self, server: Smtp, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._client: aiosmtplib.SMTP | None = None

    async def send(self, letter: Letter) -> None:
        try:
            async with asyncio.timeout(self.patience):
                client = self._client or await self._connect()
                options = ["SMTPUTF8", "BODY=8BITMIME"] if letter.utf8 else []
                await client.sendmail(self._sender, [letter.recipient], letter.content, mail_options=options)
        except aiosmtplib.SMTPRecipientsRefused as error:
            await self.close()
            raise _answered("RCPT", error.recipients[0].code) from None
        except aiosmtplib.SMTPDataError as error:
            await self.close()
            raise _answered("DATA", error.code) from None
        except aiosmtplib.SMTPResponseException as error:
            # It refuses us or its user, and no letter of its own: that can be set right.
            await self.close()
            raise NotNowError(f"{type(error).__name__} {error.code}", away=True) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            # Where this comes after the last line of the letter, nobody knows whether it was taken.
            await self.close()
            raise NotNowError(f"{type(error).__name__}: {error}"[:_REASON], away=True) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host, port=server.port, use_tls=server.tls == "implicit",
            start_tls=server.tls == "starttls", timeout=self.patience,
            tls_context=None if server.tls == "none" else ssl.create_default_context(),
            # What EHLO says. Its own default asks the resolver, which everybody would wait for.
            local_hostname=self._sender.rpartition("@")[2],
        )  # fmt: skip
        self._client = client
        await client.connect()
        if server.user is not None:
            await client.login(server.user, server.password or "")
        return client


def _answered(command: str, code: int) -> Exception:
    said = f"{command} {code}"
    return RefusedError(said) if code >= 500 else NotNowError(said)
