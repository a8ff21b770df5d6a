"""A mail server for tests: a real one, that can be away, refuse, and break off where it is told to."""

from __future__ import annotations

import email
import re
import threading
from asyncio import Transport
from datetime import timedelta
from email.policy import default
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from api import SECRET, Api
from folkmoot.mail.couriers import SmtpCourier
from folkmoot.mail.delivery import Delivery, Pace
from folkmoot.settings import load
from running import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage

    from folkmoot.mail_settings import Smtp

SENDER = "folkmoot@example.org"
_LINK = re.compile(r"^https?://\S+/(\S+)\r?$", re.MULTILINE)


class _Server(SMTP):
    """Breaks off within DATA, where `breaking` says so."""

    breaking: MailServer

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self.breaking.breaks == "within DATA":
            await self.push("354 go on")
            await self._reader.readline()
            assert isinstance(self.transport, Transport)
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


class _Controller(Controller):
    def __init__(self, server: MailServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server_of_tests = server

    def factory(self) -> SMTP:
        made = _Server(self.handler, **self.SMTP_kwargs)
        made.breaking = self._server_of_tests
        return made


class MailServer:
    """Keeps what it took; `answers` are given, in turn, instead of taking a letter."""

    def __init__(self, **options: Any) -> None:
        self.port = free_port()
        #: What SMTP_URL is, of the host and the port.
        self.address = "smtp://{}:{}"
        self.taken: list[tuple[list[str], bytes]] = []
        self.recipient_answers: list[str] = []
        self.answers: list[str] = []
        #: "within DATA", "before the answer" (taken, and nobody is told) or "for the answer" (not taken).
        self.breaks = ""
        self.logins: list[tuple[str, str]] = []
        #: What happens at RCPT or DATA, which was taken, before whoever sends is told.
        self.at: dict[str, Callable[[], object]] = {}
        self._options = options
        self._arrived = threading.Condition()
        self._controller: _Controller | None = None

    @property
    def url(self) -> str:
        return self.address.format("127.0.0.1", self.port)

    def start(self) -> None:
        self._controller = _Controller(
            self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True, **self._options
        )
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def authenticate(self, *given: Any) -> AuthResult:
        """For the option `authenticator`."""
        found = given[-1]
        assert isinstance(found, LoginPassword)
        self.logins.append((found.login.decode(), found.password.decode()))
        return AuthResult(success=found.password == b"p@ss/word", handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if self.recipient_answers:
            return self.recipient_answers.pop(0)
        envelope.rcpt_tos.append(address)
        self.at.get("RCPT", int)()
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - as above
        if self.answers:
            return self.answers.pop(0)
        if self.breaks == "for the answer":
            server.transport.abort()
            return "451 nobody reads this"
        with self._arrived:
            self.taken.append((envelope.rcpt_tos, envelope.content))
            self._arrived.notify_all()
        self.at.get("DATA", int)()
        if self.breaks == "before the answer":
            server.transport.abort()
        return "250 OK"

    def wait_for(self, number: int) -> None:
        """Wait until so many letters were taken."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.taken) >= number, 20), self.taken

    def wait_for_one_to(self, address: str) -> EmailMessage:
        """The first letter to an address; it may be still to come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: any(address in to for to, _ in self.taken), 20), self.taken
            content = next(content for to, content in self.taken if address in to)
        return email.message_from_bytes(content, policy=default)

    @property
    def letters(self) -> list[EmailMessage]:
        return [email.message_from_bytes(content, policy=default) for _, content in self.taken]

    def last(self) -> EmailMessage:
        return self.letters[-1]

    def token(self) -> str:
        """The secret part of the link in the last letter."""
        return token_in(self.last())


def link_in(letter: EmailMessage) -> str:
    found = _LINK.search(letter.get_content())
    assert found, letter.get_content()
    return found[0].strip()


def token_in(letter: EmailMessage) -> str:
    found = _LINK.search(letter.get_content())
    assert found, letter.get_content()
    return found[1]


def delivery(api: Api, server: Smtp, *, pace: Pace | None = None, **settings: Any) -> Delivery:
    """A worker's delivery on the application's pool; it sends when it is told to, and waits for nothing."""
    found = load(
        database_url=api.cluster.url(api.database),
        **{"secret_key": SECRET, "public_url": "https://moot.example.org", "mail_from": SENDER, **settings},
    )
    return Delivery(
        api.application.state.pool,
        SmtpCourier(server, SENDER),
        found,
        pace or Pace(first=timedelta()),
    )


def waiting(api: Api) -> list[tuple[Any, ...]]:
    with api.connect() as connection:
        return connection.execute("SELECT purpose, attempts, error FROM outbox ORDER BY id").fetchall()
