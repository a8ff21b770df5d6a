"""Sessions: who is asking. Short access tokens (JWT) and rotating refresh tokens, ended at any time.

A session is a row; ending it deletes the row, and with it every token of it is refused at once, because each
request looks the row up by its key. A refresh token is `<session>.<family>.<secret>`: the family stays the
same as long as the session lives, the secret changes with each use. The right family with another secret is a
token that was used before, so somebody has a copy of it: the session ends.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.answering import respond
from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Id, Limit
from folkmoot.http.problems import (
    InvalidGrant,
    InvalidTokenRequest,
    NotFound,
    TooManyAttempts,
)
from folkmoot.people.caller import ID, Caller, Member, Tokens
from folkmoot.people.email import normalised
from folkmoot.people.limits import Attempts, client_of
from folkmoot.people.token_form import FORM, read_form
from folkmoot.postgres.pool import Route, Transaction, transaction

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.people.passwords import Passwords
    from folkmoot.postgres.pool import Connection
    from folkmoot.settings import Settings

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Session(BaseModel):
    id: int
    created_at: datetime
    last_used_at: datetime = Field(description="To within some minutes.")
    expires_at: datetime = Field(description="When it ends unless it is refreshed before.")
    client: str | None = Field(description="The address from which it was begun or last refreshed.")
    user_agent: str | None
    current: bool = Field(description="Whether it is the session that asks.")


class SessionPage(BaseModel):
    items: list[Session]
    next_cursor: str | None


_OPEN = """
    INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at, client, user_agent)
    SELECT id, $2, $3, now() + $4::interval, $5, $6 FROM users WHERE id = $1
    RETURNING id
"""
_DROP_EXPIRED = "DELETE FROM sessions WHERE user_id = $1 AND expires_at <= now()"
# Of two uses at once one waits for the other's row lock, and then finds another hash.
_ROTATE = """
    UPDATE sessions
       SET refresh_hash = $4, last_used_at = now(), expires_at = now() + $5::interval,
           client = $6, user_agent = $7
     WHERE id = $1 AND family_hash = $2 AND refresh_hash = $3 AND expires_at > now()
    RETURNING user_id
"""
_END_FAMILY = "DELETE FROM sessions WHERE id = $1 AND family_hash = $2"
_END = "DELETE FROM sessions WHERE id = $1 AND user_id = $2 RETURNING id"
_END_OTHERS = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2"
_END_ALL = "DELETE FROM sessions WHERE user_id = $1"
_LIST = """
    SELECT id, created_at, last_used_at, expires_at, client, user_agent FROM sessions
     WHERE user_id = $1 AND expires_at > now() AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def begin(request: Request, connection: Connection, user_id: int) -> Response:
    """Begin a session of somebody who has proved who they are, and answer with its tokens."""
    family, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
    await connection.execute(_DROP_EXPIRED, user_id)
    session_id = await connection.fetchval(
        _OPEN, user_id, _digest(family), _digest(secret), _lifetime(request), *_whence(request)
    )
    if session_id is None:  # deleted since the password was checked
        return respond(InvalidGrant())
    return _pair(request, user_id, session_id, f"{session_id}.{family}.{secret}")


async def rotate(request: Request, connection: Connection, token: str) -> Response:
    """Answer a refresh token with new tokens. One that was used before ends its session.

    The refusal is returned, not raised: the end of the session is to be committed.
    """
    number, _, rest = token.partition(".")
    family, _, secret = rest.partition(".")
    if not ID.fullmatch(number) or int(number) > MAX_ID:
        return respond(InvalidGrant("The refresh token is not one of ours."))
    session_id, fresh = int(number), secrets.token_urlsafe(32)
    hashes = map(_digest, (family, secret, fresh))
    user_id = await connection.fetchval(_ROTATE, session_id, *hashes, _lifetime(request), *_whence(request))
    if user_id is None:
        await connection.execute(_END_FAMILY, session_id, _digest(family))
        return respond(InvalidGrant("The refresh token is unknown, has expired, or was used before."))
    return _pair(request, user_id, session_id, f"{session_id}.{family}.{fresh}")


async def end(caller: Caller) -> None:
    """End the session that asks."""
    await caller.connection.execute(_END, caller.session_id, caller.user_id)


async def end_others(caller: Caller) -> None:
    """End every session of a person but the one that asks."""
    await caller.connection.execute(_END_OTHERS, caller.user_id, caller.session_id)


def _pair(request: Request, user_id: int, session_id: int, refresh_token: str) -> Response:
    tokens: Tokens = request.app.state.tokens
    pair = {
        "access_token": tokens.write(user_id, session_id),
        "token_type": "bearer",
        "expires_in": tokens.seconds,
        "refresh_token": refresh_token,
    }
    return Response(msgspec.json.encode(pair), 200, _NO_STORE, "application/json")


def _digest(secret: str) -> bytes:
    # A random secret of 256 bits needs no slow hash.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _lifetime(request: Request) -> timedelta:
    settings: Settings = request.app.state.settings
    return timedelta(days=settings.refresh_token_expire_days)


def _whence(request: Request) -> tuple[str | None, str | None]:
    agent = request.headers.get("user-agent")
    return client_of(request) or None, agent[:300].replace("\x00", "") if agent else None


router = APIRouter(tags=["sessions"], route_class=Route)


@router.get("/sessions", response_model=SessionPage)
async def list_sessions(
    request: Request, caller: Member, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """List my sessions, the newest first."""
    cursors: Cursors = request.app.state.cursors
    before = cursors.read("sessions", cursor) if cursor else MAX_ID
    rows = await caller.connection.fetch(_LIST, caller.user_id, before, limit + 1)
    items = [{**row, "current": row["id"] == caller.session_id} for row in rows[:limit]]
    more = cursors.write("sessions", items[-1]["id"]) if len(rows) > limit else None
    return Response(msgspec.json.encode({"items": items, "next_cursor": more}), media_type="application/json")


@router.delete("/sessions", status_code=204, response_class=Response)
async def end_all_sessions(caller: Member) -> Response:
    """End all my sessions, this one too."""
    await caller.connection.execute(_END_ALL, caller.user_id)
    return Response(status_code=204)


@router.delete("/sessions/{id}", status_code=204, response_class=Response, responses=answers(NotFound))
async def end_session(caller: Member, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """End one of my sessions; its tokens are refused from then on."""
    if await caller.connection.fetchval(_END, id, caller.user_id) is None:
        raise NotFound("You have no such session.")
    return Response(status_code=204)


class TokenPair(BaseModel):
    """The answer of RFC 6749, 5.1."""

    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"])
    token_type: str = Field("bearer", examples=["bearer"])
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[1800])
    refresh_token: str = Field(
        description="Good for one use at POST /login/refresh.", examples=["1.GZbKR7g7vGs.mJk3pQ"]
    )


# A person's exact spelling comes first: accounts that are older than the rule that letter case does not tell
# addresses apart may share one but for case.
_FIND_ACCOUNT = """
    SELECT id::bigint, password,
           EXISTS (SELECT FROM sessions WHERE user_id = users.id AND client = $3) AS known
      FROM users
     WHERE email = $1 OR (lower(email) = lower($2) AND NOT duplicate_email)
     ORDER BY email = $1 DESC LIMIT 1
"""
_STORE_HASH = "UPDATE users SET password = $2 WHERE id = $1 AND password = $3"


def _body(*media_types: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    content = {media_type: {"schema": schema} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/login",
    response_model=TokenPair,
    responses=answers(InvalidGrant, InvalidTokenRequest, TooManyAttempts),
    openapi_extra=_body(
        FORM,
        required=["username", "password"],
        grant_type={"const": "password", "type": "string"},
        username={"type": "string", "description": "The e-mail address."},
        password={"type": "string", "format": "password"},
        scope={"type": "string", "description": "Ignored: there is one scope."},
    ),
)
async def login(request: Request) -> Response:
    """Log in: begin a session. The form is OAuth2's; `username` is the e-mail address.

    An unknown address takes as long as a wrong password, and is told the same.
    """
    username, password = await read_form(request, "password", "username", "password")
    username = username.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    pool, passwords = request.app.state.pool, _passwords(request)
    client = client_of(request)
    email = normalised(username) or username
    attempts = Attempts(email, client)
    # A look before the wait, so that those who are refused anyway do not fill the queue.
    async with pool.acquire() as connection:
        account = await connection.fetchrow(_FIND_ACCOUNT, username, email, client)
        known = account is not None and account["known"]
        wait = await attempts.wait(connection, known=known)
    if wait:
        raise TooManyAttempts(wait)
    async with passwords.turn():
        # And one in the turn: a worker's guesses come one by one, so that hardly any slips past the count.
        async with pool.acquire() as connection:
            wait = await attempts.wait(connection, known=known)
        if wait:
            raise TooManyAttempts(wait)
        right, rehashed = await passwords.verify(password, account["password"] if account else None)
        async with transaction(pool) as connection:
            if account is not None and right:
                await attempts.succeeded(connection)
                if rehashed:
                    await connection.execute(_STORE_HASH, account["id"], rehashed, account["password"])
                return await begin(request, connection, account["id"])
            await attempts.failed(connection)
    raise InvalidGrant


@router.post(
    "/login/refresh",
    response_model=TokenPair,
    responses=answers(InvalidGrant, InvalidTokenRequest),
    openapi_extra=_body(
        FORM,
        "application/json",
        required=["refresh_token"],
        grant_type={"const": "refresh_token", "type": "string"},
        refresh_token={"type": "string"},
        scope={"type": "string", "description": "Ignored: there is one scope."},
    ),
)
async def refresh(request: Request, connection: Transaction) -> Response:
    """Exchange a refresh token for new tokens. It is good for one use: a second one ends the session."""
    (token,) = await read_form(request, "refresh_token", "refresh_token")
    return await rotate(request, connection, token)


@router.post("/logout", status_code=204, response_class=Response)
async def logout(caller: Member) -> Response:
    """End this session: its tokens are refused from then on."""
    await end(caller)
    return Response(status_code=204)


def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords
