"""Accounts: registering, public profiles, and one's own data."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import Body, Id, Limit
from folkmoot.http.problems import Conflict, Forbidden, NotFound, TokenRefused, TooManyAttempts
from folkmoot.people import sessions
from folkmoot.people.caller import Member, MemberBearer, ReaderTransaction  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.email import Email  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.limits import Attempts, client_of
from folkmoot.people.phone import PhoneNumber  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.postgres.pool import Route, transaction

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.people.caller import Caller
    from folkmoot.people.passwords import Passwords
    from folkmoot.postgres.pool import Connection, Pool

Password = Annotated[str, Field(min_length=8, max_length=1024, examples=["correct horse battery staple"])]
DisplayName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["Ada Lovelace"])
]


class EmailTaken(Conflict):
    """There is an account with this e-mail address, perhaps with other upper and lower case."""

    kind, title = "email-taken", "The e-mail address is taken"
    example = "There is an account with this e-mail address already."


class Registration(Body):
    email: Email
    password: Password
    display_name: DisplayName | None = None
    phone_number: PhoneNumber | None = None


class Changes(Body):
    """What is to change; what is left out stays, and null takes a name or a number away."""

    email: Email = Field(default_factory=str)
    password: Password = Field(default_factory=str)
    current_password: str = Field(
        default_factory=str, max_length=1024, description="Needed for a new e-mail address or password."
    )
    display_name: DisplayName | None = None
    phone_number: PhoneNumber | None = None


class Profile(BaseModel):
    """What everybody sees of a person."""

    id: int
    display_name: str | None
    created_at: datetime = Field(description="When they joined.")


class Account(Profile):
    """What only the person sees."""

    email: str
    phone_number: str | None


class ProfilePage(BaseModel):
    items: list[Profile]
    next_cursor: str | None


_PROFILE = "id::bigint, display_name, created_at"
_ACCOUNT = f"{_PROFILE}, email, phone_number"
_INSERT = f"""
    INSERT INTO users (email, password, display_name, phone_number) VALUES ($1, $2, $3, $4)
    RETURNING {_ACCOUNT}
"""
_PAGE = f"SELECT {_PROFILE} FROM users WHERE id > $1::bigint ORDER BY id LIMIT $2"
_ONE = f"SELECT {_PROFILE} FROM users WHERE id = $1::bigint"
MINE = f"SELECT {_ACCOUNT} FROM users WHERE id = $1::bigint"
_PROOF = "SELECT email, password FROM users WHERE id = $1::bigint"
_DELETE = "DELETE FROM users WHERE id = $1::bigint"

#: The columns that a person changes.
_CHANGEABLE = ("email", "password", "display_name", "phone_number")


async def insert(connection: Connection, account: Registration, password_hash: str) -> asyncpg.Record:
    """Add an account; raises EmailTaken where there is one by that address, in whatever case."""
    values = account.email, password_hash, account.display_name, account.phone_number
    try:
        row = await connection.fetchrow(_INSERT, *values)
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None
    assert row is not None  # noqa: S101 - an INSERT without a condition
    return row


async def update(caller: Caller, changes: dict[str, Any]) -> asyncpg.Record:
    """Change some of `_CHANGEABLE`; raises EmailTaken, and TokenRefused where the person is gone."""
    names = [name for name in _CHANGEABLE if name in changes]
    if "email" in names:
        # A new address is told apart without regard to case, whatever the old one was.
        changes = {**changes, "duplicate_email": False}
        names.append("duplicate_email")
    settings = ", ".join(f"{name} = ${number}" for number, name in enumerate(names, 2))
    statement = f"UPDATE users SET {settings} WHERE id = $1::bigint RETURNING {_ACCOUNT}" if names else MINE
    try:
        row = await caller.connection.fetchrow(statement, caller.user_id, *(changes[name] for name in names))
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None
    if row is None:
        raise TokenRefused("The session of this access token has ended.")
    return row


router = APIRouter(tags=["accounts"], route_class=Route)


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


@router.post("/users", status_code=201, response_model=Account, responses=answers(EmailTaken))
async def register(request: Request, account: Registration) -> Response:
    """Register. The e-mail address is never shown to others."""
    passwords: Passwords = request.app.state.passwords
    # Before the transaction: nobody holds a connection while waiting for a turn to hash.
    password_hash = await passwords.hash(account.password, registering=True)
    async with transaction(request.app.state.pool) as connection:
        row = await insert(connection, account, password_hash)
    return _json(dict(row), 201, {"Location": f"/users/{row['id']}"})


@router.get("/users", response_model=ProfilePage)
async def list_profiles(
    request: Request, connection: ReaderTransaction, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """List the public profiles, the oldest first."""
    cursors: Cursors = request.app.state.cursors
    after = cursors.read("users", cursor) if cursor else 0
    rows = await connection.fetch(_PAGE, after, limit + 1)
    more = cursors.write("users", rows[limit - 1]["id"]) if len(rows) > limit else None
    return _json({"items": [dict(row) for row in rows[:limit]], "next_cursor": more})


@router.get("/users/me", response_model=Account)
async def read_account(caller: Member) -> Response:
    """Read one's own account."""
    row = await caller.connection.fetchrow(MINE, caller.user_id)
    if row is None:
        raise TokenRefused("The session of this access token has ended.")
    return _json(dict(row), headers={"Cache-Control": "no-store"})


@router.patch("/users/me", response_model=Account, responses=answers(EmailTaken, Forbidden, TooManyAttempts))
async def change_account(request: Request, bearer: MemberBearer, changes: Changes) -> Response:
    """Change one's own account. A new password ends every other session."""
    passwords: Passwords = request.app.state.passwords
    wanted = changes.model_dump(exclude_unset=True)
    async with bearer.transaction() as caller:
        user_id = caller.user_id
    if "email" in wanted or "password" in wanted:
        await _prove(request, user_id, wanted.pop("current_password", None))
    if "password" in wanted:
        wanted["password"] = await passwords.hash(changes.password)
    async with bearer.transaction() as caller:
        row = await update(caller, wanted)
        if "password" in wanted:
            await sessions.end_others(caller)
    return _json(dict(row), headers={"Cache-Control": "no-store"})


@router.delete("/users/me", status_code=204, response_class=Response)
async def delete_account(caller: Member) -> Response:
    """Delete one's account, and with it one's posts, votes and sessions."""
    await caller.connection.execute(_DELETE, caller.user_id)
    return Response(status_code=204)


@router.get("/users/{id}", response_model=Profile, responses=answers(NotFound))
async def read_profile(connection: ReaderTransaction, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """Read a public profile: never the e-mail address or the phone number."""
    row = await connection.fetchrow(_ONE, id)
    if row is None:
        raise NotFound("There is no such person.")
    return _json(dict(row))


async def _prove(request: Request, user_id: int, password: str | None) -> None:
    """See to it that the person knows the password; wrong ones count as failed logins."""
    if password is None:
        raise Forbidden("A new e-mail address or password needs the current_password as well.")
    pool: Pool = request.app.state.pool
    passwords: Passwords = request.app.state.passwords
    async with passwords.turn():
        async with transaction(pool) as connection:
            account = await connection.fetchrow(_PROOF, user_id)
            if account is None:
                raise TokenRefused("The session of this access token has ended.")
            attempts = Attempts(account["email"], client_of(request))
            wait = await attempts.wait(connection, known=True)
        if wait:
            raise TooManyAttempts(wait)
        right, _ = await passwords.verify(password, account["password"])
        if not right:
            async with transaction(pool) as connection:
                await attempts.failed(connection)
            raise Forbidden("The current_password is wrong.")
