"""What people are sent by mail, and what the links in it are answered with when they are no good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from folkmoot.http.problems import Conflict, NotFound
from folkmoot.mail import outbox

if TYPE_CHECKING:
    from fastapi import Request

    from folkmoot.mail.delivery import Delivery
    from folkmoot.mail.links import Purpose
    from folkmoot.postgres.pool import Connection, Pool


class MailNotSetUp(Conflict):
    """The service is not set up to send mail, and this needs it: whoever runs it sets SMTP_URL."""

    kind, title = "mail-not-set-up", "This service sends no mail"
    example = "This needs mail, and the service is not set up to send it. Ask whoever runs it."


class NoSuchLink(NotFound):
    """The link from a mail is not one of ours, was used, has expired, or its address or password was changed.

    Ask for another.
    """

    kind, title = "no-such-link", "The link is good for nothing (any more)"
    example = "The link was used, has expired, or is not one of ours. Ask for another."


#: The last part of a link, as it stands in a mail.
LinkToken = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="The last part of the link in the mail.",
        examples=["q3EwYb0hQYyqVb6bV0xFyD0kqCq0K7X8n1mO6h5cZ2k"],
    ),
]


def delivery_of(request: Request) -> Delivery | None:
    found: Delivery | None = request.app.state.delivery
    return found


def require(request: Request) -> None:
    """Raise MailNotSetUp where no mail can be sent."""
    if delivery_of(request) is None:
        raise MailNotSetUp


async def write(
    request: Request,
    connection: Connection | Pool,
    purpose: Purpose,
    *,
    user_id: int | None = None,
    address: str | None = None,
) -> None:
    """Write a mail down, where mail can be sent; `send` it after the commit."""
    if delivery_of(request) is not None:
        await outbox.put(connection, purpose, user_id=user_id, address=address)


def send(request: Request) -> None:
    """Have what was written and committed sent now, and wait for nothing."""
    if (delivery := delivery_of(request)) is not None:
        delivery.wake()
