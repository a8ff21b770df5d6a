"""Whether an address is the person's own: they follow a link that was sent to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Body
from folkmoot.http.problems import Conflict
from folkmoot.http.routes import Route
from folkmoot.mail import links
from folkmoot.people import events, mail
from folkmoot.people.caller import MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.mail import LinkToken, MailNotSetUp, NoSuchLink
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    from folkmoot.people.caller import Bearer
    from folkmoot.postgres.pool import Pool


class Verification(Body):
    token: LinkToken


class AlreadyVerified(Conflict):
    """The address of the account was verified before."""

    kind, title = "already-verified", "The address is verified"
    example = "The address is verified already."


_UNVERIFIED = "SELECT email_verified_at IS NULL FROM users WHERE id = $1::bigint"
_VERIFY = "UPDATE users SET email_verified_at = coalesce(email_verified_at, now()) WHERE id = $1::bigint"


async def ask(request: Request, bearer: Bearer) -> None:
    """Have a link sent to one's own address once more; raises MailNotSetUp and AlreadyVerified."""
    async with bearer.transaction() as caller:
        mail.require(request)
        if not await caller.connection.fetchval(_UNVERIFIED, caller.user_id):
            raise AlreadyVerified
        await mail.write(request, caller.connection, links.VERIFY, user_id=caller.user_id)
    mail.send(request)


async def good(request: Request, token: str) -> bool:
    """Whether a link can be used; it still can afterwards."""
    pool: Pool = request.app.state.pool
    return await links.holder(pool, links.VERIFY, links.digest(token)) is not None


async def verify(request: Request, token: str) -> None:
    """Note that the address that a link was sent to is the account's own; raises NoSuchLink."""
    async with transaction(request.app.state.pool) as connection:
        account = await links.use(connection, links.VERIFY, token)
        if account is None:
            raise NoSuchLink
        await connection.execute(_VERIFY, account["id"])
    events.note("email_verified", request, account_id=account["id"])


router = APIRouter(tags=["accounts"], route_class=Route)


@router.post(
    "/email-verifications",
    status_code=202,
    response_class=Response,
    responses={202: {"description": "Mail is on its way."}, **answers(MailNotSetUp, AlreadyVerified)},
)
async def ask_for_verification(request: Request, bearer: MemberBearer) -> Response:
    """Have a link sent to one's own address once more: it is sent at registration, and when it is changed.

    The link is good for four days. An account gets five of them in an hour.
    """
    await ask(request, bearer)
    return Response(status_code=202)


@router.post(
    "/email-verifications/confirm", status_code=204, response_class=Response, responses=answers(NoSuchLink)
)
async def confirm_verification(request: Request, verification: Verification) -> Response:
    """Verify an address with the link from a mail."""
    await verify(request, verification.token)
    return Response(status_code=204)
