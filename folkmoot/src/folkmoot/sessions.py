"""Sessions: who is asking. Short access tokens (JWT) and rotating refresh tokens, ended at any time.

A session is a row; ending it deletes the row, and with it every token of it is refused at once, because each
request looks the row up by its key. A refresh token is `<session>.<family>.<secret>`: the family stays the
same as long as the session lives, the secret changes with each use. The right family with another secret is a
token that was used before, so somebody has a copy of it: the session ends.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, cast

import jwt
import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, Field

from folkmoot.contract import MAX_ID, Cursor, Id, Limit, answers
from folkmoot.database import Route, Transaction
from folkmoot.errors import InvalidGrant, LoginRequired, NotFound, TokenRefused, respond

if TYPE_CHECKING:
    from folkmoot.contract import Cursors
    from folkmoot.database import Connection
    from folkmoot.settings import Settings

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_ID = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The person who is asking, by a session that is alive."""

    user_id: int
    session_id: int


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


class Tokens:
    """Makes and reads access tokens: JWT (RFC 7519), HS256."""

    def __init__(self, secret: str, lifetime: timedelta) -> None:
        self._key = secret.encode()
        self.seconds = int(lifetime.total_seconds())

    def write(self, caller: Caller) -> str:
        now = int(time.time())
        claims = {"sub": str(caller.user_id), "sid": caller.session_id, "iat": now, "exp": now + self.seconds}
        return jwt.encode(claims, self._key, "HS256")

    def read(self, token: str) -> Caller:
        """Check a token's signature and expiry; whether its session lives, the database says.

        Raises TokenRefused.
        """
        try:
            claims = jwt.decode(
                token, self._key, algorithms=["HS256"], options={"require": ["sub", "sid", "exp"]}
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The access token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError):
            raise TokenRefused("The access token is not one of ours.") from None
        subject, session = claims["sub"], claims["sid"]
        if not _ID.fullmatch(subject) or type(session) is not int or not 0 < session <= MAX_ID:
            raise TokenRefused("The access token is not one of ours.")
        user = int(subject)
        if user > MAX_ID:
            raise TokenRefused("The access token is not one of ours.")
        return Caller(user, session)


def claimed(request: Request) -> Caller | None:
    """Who the bearer token says is asking (RFC 6750, 2.1), None without one.

    Only a signature has been checked: see to it that `ALIVE` holds, in the same query where speed matters.
    Raises TokenRefused.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    return cast("Tokens", request.app.state.tokens).read(token.strip())


#: Whether session $1 of person $2 lives, as a condition for other queries: one look-up by primary key.
ALIVE = "EXISTS (SELECT FROM sessions WHERE id = $1 AND user_id = $2 AND expires_at > now())"
#: Whether a session's last use is noted, which is done every five minutes at most. Where it is not: `alive`.
NOTED = "last_used_at >= now() - interval '5 minutes'"
_LOOK_UP = f"""
    SELECT NOT {NOTED} FROM sessions
     WHERE id = $1 AND user_id = $2 AND expires_at > now()
"""
# A concurrent request of the same session may be noting it already: nobody waits for that.
_NOTE_USE = """
    UPDATE sessions SET last_used_at = now()
     WHERE id = (SELECT id FROM sessions WHERE id = $1 FOR UPDATE SKIP LOCKED)
"""


async def alive(connection: Connection, caller: Caller) -> Caller:
    """See to it that a claimed session lives; raises TokenRefused where it or its person is gone."""
    outdated = await connection.fetchval(_LOOK_UP, caller.session_id, caller.user_id)
    if outdated is None:
        raise TokenRefused("The session of this access token has ended.")
    if outdated:
        await connection.execute(_NOTE_USE, caller.session_id)
    return caller


class _Login(SecurityBase):
    """The security scheme, in OpenAPI and as the dependency that enforces it."""

    def __init__(self) -> None:
        flow = OAuthFlowPassword(tokenUrl="login", refreshUrl="login/refresh", scopes={})
        self.model = OAuth2Model(flows=OAuthFlows(password=flow))
        self.scheme_name = "login"


class _Member(_Login):
    async def __call__(self, request: Request, connection: Transaction) -> Caller:
        caller = claimed(request)
        if caller is None:
            raise LoginRequired
        return await alive(connection, caller)


class _Reader(_Login):
    async def __call__(self, request: Request, connection: Transaction) -> Caller | None:
        caller = readable(request)
        return None if caller is None else await alive(connection, caller)


def readable(request: Request) -> Caller | None:
    """Who claims to be asking, on a route that anybody may read; raises LoginRequired if PUBLIC_READ is off.

    As with `claimed`, whether the session lives is still to be asked.
    """
    caller = claimed(request)
    if caller is None and not request.app.state.settings.public_read:
        raise LoginRequired
    return caller


class _Claimant(_Login):
    async def __call__(self, request: Request) -> Caller:
        caller = claimed(request)
        if caller is None:
            raise LoginRequired
        return caller


class _ReadingClaimant(_Login):
    async def __call__(self, request: Request) -> Caller | None:
        return readable(request)


member = _Member()
reader = _Reader()
reading_claimant = _ReadingClaimant()
#: Somebody who is logged in; others get a 401.
Member = Annotated[Caller, Depends(member)]
#: Somebody whose token is signed by us, for routes that must not hold a connection yet: they ask `alive`.
Claimant = Annotated[Caller, Depends(_Claimant())]
#: Whoever asks: None is anonymous, and gets a 401 where PUBLIC_READ is off.
Reader = Annotated[Caller | None, Depends(reader)]
#: As Reader, but with no more than a signature checked, as with Claimant.
ReadingClaimant = Annotated[Caller | None, Depends(reading_claimant)]


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
    return _pair(request, Caller(user_id, session_id), f"{session_id}.{family}.{secret}")


async def refresh(request: Request, connection: Connection, token: str) -> Response:
    """Answer a refresh token with new tokens. One that was used before ends its session.

    The refusal is returned, not raised: the end of the session is to be committed.
    """
    number, _, rest = token.partition(".")
    family, _, secret = rest.partition(".")
    if not _ID.fullmatch(number) or int(number) > MAX_ID:
        return respond(InvalidGrant("The refresh token is not one of ours."))
    session_id, fresh = int(number), secrets.token_urlsafe(32)
    hashes = map(_digest, (family, secret, fresh))
    user_id = await connection.fetchval(_ROTATE, session_id, *hashes, _lifetime(request), *_whence(request))
    if user_id is None:
        await connection.execute(_END_FAMILY, session_id, _digest(family))
        return respond(InvalidGrant("The refresh token is unknown, has expired, or was used before."))
    return _pair(request, Caller(user_id, session_id), f"{session_id}.{family}.{fresh}")


async def end(connection: Connection, caller: Caller) -> None:
    """End the session that asks."""
    await connection.execute(_END, caller.session_id, caller.user_id)


async def end_others(connection: Connection, caller: Caller) -> None:
    """End every session of a person but the one that asks."""
    await connection.execute(_END_OTHERS, caller.user_id, caller.session_id)


def client_of(request: Request) -> str:
    """The address of who is asking; behind a proxy it is right where TRUSTED_PROXIES names that proxy."""
    return request.client.host if request.client else ""


def _pair(request: Request, caller: Caller, refresh_token: str) -> Response:
    tokens: Tokens = request.app.state.tokens
    pair = {
        "access_token": tokens.write(caller),
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
    request: Request, connection: Transaction, caller: Member, limit: Limit = 20, cursor: Cursor = None
) -> Response:
    """List my sessions, the newest first."""
    cursors: Cursors = request.app.state.cursors
    before = cursors.read("sessions", cursor)[0] if cursor else MAX_ID
    rows = await connection.fetch(_LIST, caller.user_id, before, limit + 1)
    items = [{**row, "current": row["id"] == caller.session_id} for row in rows[:limit]]
    more = cursors.write("sessions", items[-1]["id"]) if len(rows) > limit else None
    return Response(msgspec.json.encode({"items": items, "next_cursor": more}), media_type="application/json")


@router.delete("/sessions", status_code=204, response_class=Response)
async def end_all_sessions(connection: Transaction, caller: Member) -> Response:
    """End all my sessions, this one too."""
    await connection.execute(_END_ALL, caller.user_id)
    return Response(status_code=204)


@router.delete("/sessions/{id}", status_code=204, response_class=Response, responses=answers(NotFound))
async def end_session(connection: Transaction, caller: Member, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """End one of my sessions; its tokens are refused from then on."""
    if await connection.fetchval(_END, id, caller.user_id) is None:
        raise NotFound("You have no such session.")
    return Response(status_code=204)
