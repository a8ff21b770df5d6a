"""Accounts: registering, and public profiles."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (Pydantic reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import INVISIBLE, Body, Id, Limit
from folkmoot.http.problems import Conflict, NotFound, TooManyRequests
from folkmoot.http.routes import Route
from folkmoot.mail.links import VERIFY
from folkmoot.people import events, limits, mail
from folkmoot.people.caller import NOBODY, SESSION, Reader
from folkmoot.people.common_passwords import refuse_own_words, uncommon
from folkmoot.people.email import Email  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.people.phone import PhoneNumber  # noqa: TC001 (Pydantic reads the annotations)
from folkmoot.postgres.pool import transaction
from folkmoot.postgres.statement import Statement

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.people.caller import Anonymous, Bearer
    from folkmoot.people.passwords import Passwords
    from folkmoot.postgres.pool import Connection

Password = Annotated[
    str,
    Field(min_length=8, max_length=1024, examples=["correct horse battery staple"]),
    AfterValidator(uncommon),
]
# Controls, ends of lines, and what turns the direction of the text around a name: it stands beside others'.
_NO_NAME = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
DisplayName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=f"^[^{_NO_NAME}]*[^{INVISIBLE}][^{_NO_NAME}]*$",
        description="One line, with something to be seen.",
        examples=["Ada Lovelace"],
    ),
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


class Profile(BaseModel):
    """What everybody sees of a person."""

    id: int
    display_name: str | None
    created_at: datetime = Field(description="When they joined.")


class Account(Profile):
    """What only the person sees."""

    email: str
    phone_number: str | None
    administrator: bool = Field(description="Whether they may remove posts and block accounts.")
    email_verified: bool = Field(description="Whether somebody followed a link that was sent to the address.")


class ProfilePage(BaseModel):
    items: list[Profile]
    next_cursor: str | None


_PROFILE = "id::bigint, display_name, created_at"
ACCOUNT = f"{_PROFILE}, email, phone_number, administrator, email_verified_at IS NOT NULL AS email_verified"
_INSERT = f"""
    INSERT INTO users (email, password, display_name, phone_number) VALUES ($1, $2, $3, $4)
    RETURNING {ACCOUNT}
"""


def _profiles(which: str) -> dict[bool, Statement]:
    """The statement that reads profiles, by whether somebody is logged in."""
    return {
        known: Statement(f"""
            SELECT s.noted, u.* FROM ({SESSION if known else NOBODY}) AS s
             CROSS JOIN (SELECT {_PROFILE} FROM users {which}) AS u ORDER BY u.id
        """)
        for known in (True, False)
    }


_PAGE = _profiles("WHERE id > CAST(:after AS bigint) ORDER BY id LIMIT :count")
_ONE = _profiles("WHERE id = CAST(:id AS bigint)")
_ANYBODY = _profiles("LIMIT 1")
MINE = f"SELECT {ACCOUNT} FROM users WHERE id = $1::bigint"


async def anybody(reader: Bearer | Anonymous) -> bool:
    """Whether there is any account."""
    return bool(await reader.ask(_ANYBODY[reader.known]))


async def insert(connection: Connection, account: Registration, password_hash: str) -> asyncpg.Record:
    """Add an account; raises EmailTaken where there is one by that address, in whatever case."""
    values = account.email, password_hash, account.display_name, account.phone_number
    try:
        row = await connection.fetchrow(_INSERT, *values)
    except asyncpg.UniqueViolationError:
        raise EmailTaken from None
    assert row is not None  # noqa: S101 - an INSERT without a condition
    return row


async def add(request: Request, account: Registration) -> asyncpg.Record:
    """Add an account for whoever asks; raises Invalid, EmailTaken and TooManyRequests."""
    passwords: Passwords = request.app.state.passwords
    refuse_own_words(account.password, account.email, account.display_name)
    await limits.count(request, request.app.state.pool, limits.REGISTRATIONS)
    # Before the transaction: nobody holds a connection while waiting for a turn to hash.
    password_hash = await passwords.hash(account.password, registering=True)
    async with transaction(request.app.state.pool) as connection:
        row = await insert(connection, account, password_hash)
        await mail.write(request, connection, VERIFY, user_id=row["id"])
    mail.send(request)
    events.note("registered", request, account_id=row["id"])
    return row


async def profile(reader: Bearer | Anonymous, account_id: int) -> dict[str, Any]:
    """What everybody sees of a person; raises NotFound, and TokenRefused for an ended session."""
    rows = await reader.ask(_ONE[reader.known], id=account_id)
    if not rows:
        raise NotFound("There is no such person.")
    return _shaped(rows[0])


def _shaped(row: asyncpg.Record) -> dict[str, Any]:
    return {name: row[name] for name in Profile.model_fields}


router = APIRouter(tags=["accounts"], route_class=Route)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


@router.post(
    "/users", status_code=201, response_model=Account, responses=answers(EmailTaken, TooManyRequests)
)
async def register(request: Request, account: Registration) -> Response:
    """Register. The e-mail address is never shown to others."""
    row = await add(request, account)
    return json_response(dict(row), 201, {"Location": f"/users/{row['id']}"})


@router.get("/users", response_model=ProfilePage)
async def list_profiles(
    request: Request, reader: Reader, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """List the public profiles, the oldest first."""
    cursors: Cursors = request.app.state.cursors
    after = cursors.read("users", cursor) if cursor else 0
    rows = await reader.ask(_PAGE[reader.known], after=after, count=limit + 1)
    more = cursors.write("users", rows[limit - 1]["id"]) if len(rows) > limit else None
    return json_response({"items": [_shaped(row) for row in rows[:limit]], "next_cursor": more})


@router.get("/users/{id}", response_model=Profile, responses=answers(NotFound))
async def read_profile(reader: Reader, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """Read a public profile: never the e-mail address or the phone number."""
    return json_response(await profile(reader, id))
