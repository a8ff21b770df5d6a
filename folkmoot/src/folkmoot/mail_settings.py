"""What SMTP_URL and MAIL_FROM say; imports nothing, as the settings need it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.policy import SMTP
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from email.headerregistry import Address

Tls: TypeAlias = Literal["implicit", "starttls", "none"]

_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_PORTS = {"implicit": 465, "starttls": 587, "none": 25}


@dataclass(frozen=True)
class Smtp:
    """A mail server, and how to talk to it."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    tls: Tls


def parse_smtp(url: str) -> Smtp:
    """Read SMTP_URL; raises ValueError.

    Over `smtp:` STARTTLS is insisted on, but with `?starttls=never`, or where the server is this machine.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    starttls, host = options.pop("starttls", None), parts.hostname or ""
    number = ":" in host or host[-1:].isdigit()
    loopback = ip_address(host).is_loopback if number else host == "localhost"
    if not (":" in host or _HOST.fullmatch(host)) or parts.path not in {"", "/"} or parts.fragment or options:
        raise ValueError
    tls: Tls
    if parts.scheme == "smtps" and starttls is None:
        tls = "implicit"
    elif parts.scheme == "smtp" and starttls in {None, "required", "never"}:
        tls = "none" if starttls == "never" or (loopback and starttls is None) else "starttls"
    else:
        raise ValueError
    user, password = (unquote(each) if each else None for each in (parts.username, parts.password))
    if (user is None) != (password is None) or parts.port == 0:
        raise ValueError
    return Smtp(host, parts.port or _PORTS[tls], user, password, tls)


def parse_mailbox(text: str) -> Address:
    """Read MAIL_FROM: one address, with or without a name; raises ValueError."""
    header = SMTP.header_factory("from", text if text.isprintable() else "")
    (made,) = header.addresses
    if header.defects or not made.addr_spec.isascii() or not _HOST.fullmatch(made.domain):
        raise ValueError
    found: Address = made
    return found
