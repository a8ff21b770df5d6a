"""One's own account: read, changed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from fastapi import APIRouter, Request, Response
from pydantic import Field

from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Body
from folkmoot.http.problems import Forbidden, TooManyAttempts
from folkmoot.http.routes import Route
from folkmoot.mail.links import VERIFY
from folkmoot.people import events, mail, sessions
from folkmoot.people.accounts import (
    ACCOUNT,
    MINE,
    Account,
    DisplayName,
    EmailTaken,
    Password,
    json_response,
)
from folkmoot.people.caller import Member, MemberBearer, session_ended
from folkmoot.people.common_passwords import refuse_own_words
from folkmoot.people.credentials import changed_meanwhile, prove_again
from folkmoot.people.email import Email  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.phone import PhoneNumber  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.sessions import Confirmation  # noqa: TC001 (FastAPI reads the annotations)

if TYPE_CHECKING:
    from folkmoot.people.caller import Caller
    from folkmoot.people.passwords import Passwords


class Changes(Body):
    """What is to change; what is left out stays, and null takes a name or a number away."""

    email: Email = Field(default_factory=str)
    password: Password = Field(default_factory=str)
    current_password: str = Field(
        default_factory=str, max_length=1024, description="Needed for a new e-mail address or password."
    )
    display_name: DisplayName | None = None
    phone_number: PhoneNumber | None = None


#: The columns that a person changes.
_CHANGEABLE = ("email", "password", "display_name", "phone_number")
_DELETE = "DELETE FROM users WHERE id = $1::bigint AND password = $2 RETURNING id"

router = APIRouter(tags=["accounts"], route_class=Route)


@router.get("/users/me", response_model=Account)
async def read_account(caller: Member) -> Response:
    """Read one's own account."""
    return json_response(dict(await mine(caller)), headers={"Cache-Control": "no-store"})


@router.patch("/users/me", response_model=Account, responses=answers(EmailTaken, Forbidden, TooManyAttempts))
async def change_account(request: Request, bearer: MemberBearer, changes: Changes) -> Response:
    """Change one's own account. A new password ends every other session."""
    passwords: Passwords = request.app.state.passwords
    wanted = changes.model_dump(exclude_unset=True)
    current = wanted.pop("current_password", None)
    async with bearer.transaction() as caller:
        before = await mine(caller)
    proved: str | None = None
    if "email" in wanted or "password" in wanted:
        proved = (await prove_again(request, before["id"], current)).hash
    if "password" in wanted:
        after = {**before, **wanted}
        refuse_own_words(changes.password, after["email"], after["display_name"])
        wanted["password"] = await passwords.hash(changes.password)
    async with bearer.transaction() as caller:
        row = await update(caller, wanted, proved)
        if row["email"] != before["email"]:
            await mail.write(request, caller.connection, VERIFY, user_id=caller.user_id)
        if "password" in wanted:
            await sessions.end_others(request, caller)
    mail.send(request)
    who = {"account_id": caller.user_id, "session_id": caller.session_id}
    for name in ("password", "email"):
        if name in wanted:
            events.note(f"{name}_changed", request, **who)
    return json_response(dict(row), headers={"Cache-Control": "no-store"})


@router.delete(
    "/users/me", status_code=204, response_class=Response, responses=answers(Forbidden, TooManyAttempts)
)
async def delete_account(
    request: Request, bearer: MemberBearer, confirmation: Confirmation | None = None
) -> Response:
    """Delete one's account, and with it one's posts, votes and sessions. The password is asked again."""
    async with bearer.transaction() as caller:
        user_id = caller.user_id
    proof = await prove_again(request, user_id, confirmation.current_password if confirmation else None)
    async with bearer.transaction() as caller:
        if await caller.connection.fetchval(_DELETE, user_id, proof.hash) is None:
            await caller.check()
            raise changed_meanwhile()
    events.note("account_deleted", request, account_id=user_id, session_id=caller.session_id)
    return Response(status_code=204)


async def update(caller: Caller, changes: dict[str, Any], proved: str | None) -> asyncpg.Record:
    """Change some of `_CHANGEABLE`; `proved` is the hash that the password was verified against, if it was.

    Raises EmailTaken, TokenRefused, and Forbidden where the password was changed since it was verified.
    """
    names = [name for name in _CHANGEABLE if name in changes]
    if not names:
        return await mine(caller)
    if "email" in names:
        # A new address is told apart without regard to case, whatever the old one was.
        changes = {**changes, "duplicate_email": False}
        names.append("duplicate_email")
    condition = "$2::text IS NULL" if proved is None else "password = $2"
    settings = ", ".join(f"{name} = ${number}" for number, name in enumerate(names, 3))
    if "email" in names:
        same = f"email = ${names.index('email') + 3}::varchar"
        settings += f", email_verified_at = CASE WHEN {same} THEN email_verified_at END"
    statement = f"UPDATE users SET {settings} WHERE id = $1::bigint AND {condition} RETURNING {ACCOUNT}"
    values = (changes[name] for name in names)
    try:
        row = await caller.connection.fetchrow(statement, caller.user_id, proved, *values)
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None
    if row is None:
        await caller.check()
        raise changed_meanwhile()
    return row


async def mine(caller: Caller) -> asyncpg.Record:
    """The row of the account that asks; raises TokenRefused."""
    row = await caller.connection.fetchrow(MINE, caller.user_id)
    if row is None:
        raise session_ended()
    return row
