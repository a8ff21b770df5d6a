"""A new password for who has forgotten theirs: by a link that is sent to the address of the account.

Nothing is looked up while somebody asks: what was typed goes into the outbox, whether there is an account or
not, and whoever sends mail looks. So an address that has an account takes as long as one that has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Body
from folkmoot.http.problems import TooManyRequests
from folkmoot.http.routes import Route
from folkmoot.mail import links
from folkmoot.people import events, limits, mail, sessions
from folkmoot.people.accounts import Password  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.common_passwords import refuse_own_words
from folkmoot.people.email import Email  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.limits import client_of
from folkmoot.people.login_failures import Attempts
from folkmoot.people.mail import LinkToken, MailNotSetUp, NoSuchLink
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    from folkmoot.people.passwords import Passwords
    from folkmoot.postgres.pool import Pool


class PasswordReset(Body):
    email: Email


class NewPassword(Body):
    token: LinkToken
    password: Password


# Who follows the link reads the address's mail.
_SET = """
    UPDATE users SET password = $2, email_verified_at = coalesce(email_verified_at, now())
     WHERE id = $1::bigint
"""


async def ask(request: Request, email: str) -> None:
    """Have a link sent to whoever has an account by this address; raises MailNotSetUp, TooManyRequests."""
    mail.require(request)
    pool: Pool = request.app.state.pool
    await limits.count(request, pool, limits.PASSWORD_RESETS)
    await mail.write(request, pool, links.RESET, address=email)
    events.note("password_reset_asked", request)
    mail.send(request)


async def good(request: Request, token: str) -> bool:
    """Whether a link can be used; it still can afterwards."""
    pool: Pool = request.app.state.pool
    return await links.holder(pool, links.RESET, links.digest(token)) is not None


async def reset(request: Request, token: str, password: str) -> None:
    """Set the password of the account that a link is for, and end its sessions.

    Raises NoSuchLink, and Invalid for a password that is guessed first.
    """
    pool: Pool = request.app.state.pool
    passwords: Passwords = request.app.state.passwords
    # A look before the wait, so that nothing is hashed for who has no link.
    account = await links.holder(pool, links.RESET, links.digest(token))
    if account is None:
        raise NoSuchLink
    refuse_own_words(password, account["email"], account["display_name"])
    hashed = await passwords.hash(password, registering=True)
    async with transaction(pool) as connection:
        if await links.use(connection, links.RESET, token) is None:
            raise NoSuchLink
        await connection.execute(_SET, account["id"], hashed)
        await sessions.end_all(request, connection, account["id"], "password reset")
        await Attempts(account["id"], "", client_of(request)).succeeded(connection)
    events.note("password_reset", request, account_id=account["id"])


router = APIRouter(tags=["accounts"], route_class=Route)


@router.post(
    "/password-resets",
    status_code=202,
    response_class=Response,
    responses={
        202: {"description": "If there is such an account, mail is on its way."},
        **answers(MailNotSetUp, TooManyRequests),
    },
)
async def ask_for_password_reset(request: Request, wanted: PasswordReset) -> Response:
    """Have a link to a new password sent by mail. The answer is the same whether there is an account or not.

    The link is good for two hours, for one use, and until the password or the address is changed. An account
    gets five of them in an hour.
    """
    await ask(request, wanted.email)
    return Response(status_code=202)


@router.post(
    "/password-resets/confirm", status_code=204, response_class=Response, responses=answers(NoSuchLink)
)
async def confirm_password_reset(request: Request, new: NewPassword) -> Response:
    """Set a new password with the link from a mail. It ends all sessions of the account."""
    await reset(request, new.token, new.password)
    return Response(status_code=204)
