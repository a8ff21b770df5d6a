"""What a mail is as a message (RFC 5322): the same, byte for byte, at each attempt to send it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import TYPE_CHECKING

from email_validator import EmailNotValidError, validate_email

from folkmoot.mail.links import PURPOSES

if TYPE_CHECKING:
    from datetime import timedelta

    from folkmoot.mail.links import Purpose
    from folkmoot.mail.outbox import Mail

_TEXTS = tomllib.loads(Path(__file__).with_name("en.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Letter:
    """A mail as it is sent."""

    account_id: int
    purpose: Purpose
    recipient: str
    link: str = field(repr=False)
    content: bytes = field(repr=False)
    #: Whether the address needs RFC 6531.
    utf8: bool


class NoAddressError(Exception):
    """The account has an address to which no mail can be sent."""


def written(
    mail: Mail, *, account_id: int, address: str, sender: Address, origin: str, secret: str
) -> Letter:
    """Write a mail; raises NoAddressError. Nothing in it was written by a person but the address."""
    try:
        # A database may have addresses from before they were looked at, and a header ends with its line.
        found = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise NoAddressError from None
    domain = found.ascii_domain if found.ascii_email else found.domain
    recipient = Address(username=found.local_part, domain=domain)
    texts, link = _TEXTS[mail.purpose.name], f"{origin}/{mail.purpose.path}/{secret}"
    utf8 = found.ascii_email is None
    message = EmailMessage(SMTPUTF8 if utf8 else SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = texts["subject"]
    message["Date"] = mail.created_at
    # By it a mail server, or a reader's program, knows a mail that comes once more.
    message["Message-ID"] = f"<{mail.purpose.name}.{mail.id}.{mail.nonce.hex()}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
    text = texts["text"].format(origin=origin, link=link, time=_words(mail.purpose.lifetime))
    message.set_content(text.lstrip(), cte="quoted-printable")
    return Letter(account_id, mail.purpose, recipient.addr_spec, link, message.as_bytes(), utf8)


def _words(lifetime: timedelta) -> str:
    hours = int(lifetime.total_seconds() // 3600)
    return f"{hours // 24} days" if hours > 48 else f"{hours} hours"


def missing_texts() -> set[str]:
    """The purposes that have no text."""
    return PURPOSES.keys() - _TEXTS.keys()
