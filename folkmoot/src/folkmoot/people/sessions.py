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
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.cursors import Cursor  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.http.openapi import answers
from folkmoot.http.parameters import MAX_ID, Body, Id, Limit
from folkmoot.http.problems import (
    Forbidden,
    InvalidGrant,
    NotFound,
    TooManyAttempts,
)
from folkmoot.http.routes import Route
from folkmoot.people import events
from folkmoot.people.caller import Member, MemberBearer  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.people.credentials import (
    AccountBlocked,
    Proof,
    changed_meanwhile,
    prove_again,
    prove_by_address,
)
from folkmoot.people.limits import client_of
from folkmoot.people.tokens import ID
from folkmoot.postgres import reading
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    from folkmoot.http.cursors import Cursors
    from folkmoot.people.caller import Caller
    from folkmoot.postgres.pool import Connection
    from folkmoot.settings import Settings

#: How often a login proves the password again because the hash was changed meanwhile.
_PROOFS = 3


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


# The account's row is locked: whoever changes the password, and ends sessions, comes before or after this
# whole transaction, and so does another login. What was verified must be the account's still.
_OPEN = """
    INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at, client, user_agent)
    SELECT id, $3, $4, now() + least($5::interval, $6::interval), $7, $8
      FROM users WHERE id = $1 AND password = $2 AND blocked_at IS NULL FOR NO KEY UPDATE
    RETURNING id
"""
_BLOCKED = """
    SELECT blocked_reason AS reason FROM users WHERE id = $1 AND password = $2 AND blocked_at IS NOT NULL
"""
_REPLACE_HASH = "UPDATE users SET password = $3 WHERE id = $1 AND password = $2 RETURNING password"
_DROP_EXPIRED = "DELETE FROM sessions WHERE user_id = $1 AND expires_at <= now()"
_END_OLDEST = """
    DELETE FROM sessions
     WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 ORDER BY id DESC OFFSET $2)
    RETURNING id
"""
# Of two uses at once one waits for the other's row lock, and then finds another hash.
_ROTATE = """
    UPDATE sessions
       SET refresh_hash = $4, last_used_at = now(),
           expires_at = least(now() + $5::interval, created_at + $6::interval),
           client = $7, user_agent = $8
     WHERE id = $1 AND family_hash = $2 AND refresh_hash = $3 AND expires_at > now()
       AND created_at + $6::interval > now()
    RETURNING user_id
"""
_END_FAMILY = "DELETE FROM sessions WHERE id = $1 AND family_hash = $2 RETURNING user_id"
_END = "DELETE FROM sessions WHERE id = $1 AND user_id = $2 RETURNING id"
_END_OTHERS = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2 RETURNING id"
_END_EVERY = "DELETE FROM sessions WHERE user_id = $1::bigint RETURNING id"
_END_ALL = """
    DELETE FROM sessions
     WHERE user_id = $1 AND EXISTS (SELECT FROM users WHERE id = $1 AND password = $2 FOR SHARE)
    RETURNING id
"""
_LIST = """
    SELECT id, created_at, last_used_at, expires_at, client, user_agent FROM sessions
     WHERE user_id = $1 AND expires_at > now() AND id < $2 ORDER BY id DESC LIMIT $3
"""


class Begun(NamedTuple):
    """A session that has just begun, or gone on by a refresh token."""

    user_id: int
    session_id: int
    refresh_token: str


async def begin(request: Request, connection: Connection, proof: Proof) -> Begun | None:
    """Begin a session of somebody who has proved who they are.

    None where the password that was verified is not the account's any more. Locks the account's row. A person
    who has the most sessions already loses the oldest. Raises AccountBlocked.
    """
    hashed = proof.hash
    if proof.replacement is not None:
        hashed = await connection.fetchval(_REPLACE_HASH, proof.account_id, hashed, proof.replacement)
    family, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
    hashes = _digest(family), _digest(secret)
    session_id = await connection.fetchval(
        _OPEN, proof.account_id, hashed, *hashes, *_lifetimes(request), *_whence(request)
    )
    if session_id is None:
        blocked = await connection.fetchrow(_BLOCKED, proof.account_id, hashed)
        if blocked is not None:
            events.note("login_blocked", request, account_id=proof.account_id)
            raise AccountBlocked(blocked["reason"])
        return None
    await proof.attempts.succeeded(connection)
    await connection.execute(_DROP_EXPIRED, proof.account_id)
    most = _settings(request).sessions_per_person
    for ended in await connection.fetch(_END_OLDEST, proof.account_id, most):
        _note_end(request, proof.account_id, ended["id"], "too many")
    events.note("login", request, account_id=proof.account_id, session_id=session_id)
    reading.about(request, proof.account_id)
    return Begun(proof.account_id, session_id, f"{session_id}.{family}.{secret}")


async def log_in(request: Request, username: str, password: str) -> Begun:
    """Begin a session by an address and a password; raises InvalidGrant, and as `prove_by_address`."""
    # Somebody may have changed the hash since it was read, or replaced it at a login of the same person.
    for _ in range(_PROOFS):
        proof = await prove_by_address(request, username, password)
        if proof is None:
            break
        async with transaction(request.app.state.pool) as connection:
            begun = await begin(request, connection, proof)
        if begun is not None:
            return begun
    raise InvalidGrant


async def rotate(request: Request, connection: Connection, token: str) -> Begun | InvalidGrant:
    """Replace a refresh token. One that was used before ends its session.

    The refusal is returned, not raised: the end of the session is to be committed.
    """
    number, _, rest = token.partition(".")
    family, _, secret = rest.partition(".")
    if not ID.fullmatch(number) or int(number) > MAX_ID:
        return InvalidGrant("The refresh token is not one of ours.")
    session_id, fresh = int(number), secrets.token_urlsafe(32)
    hashes = map(_digest, (family, secret, fresh))
    user_id = await connection.fetchval(_ROTATE, session_id, *hashes, *_lifetimes(request), *_whence(request))
    if user_id is None:
        whose = await connection.fetchval(_END_FAMILY, session_id, _digest(family))
        if whose is not None:
            events.note("refresh_reused", request, account_id=whose, session_id=session_id)
        return InvalidGrant("The refresh token is unknown, has expired, or was used before.")
    reading.about(request, user_id)
    return Begun(user_id, session_id, f"{session_id}.{family}.{fresh}")


async def listed(caller: Caller, before: int, count: int) -> list[dict[str, Any]]:
    """At most ``count`` sessions of a person that are older than one, the newest first."""
    rows = await caller.connection.fetch(_LIST, caller.user_id, before, count)
    return [{**row, "current": row["id"] == caller.session_id} for row in rows]


async def end(request: Request, caller: Caller, session_id: int) -> None:
    """End a session of the person who asks; raises NotFound, and TokenRefused."""
    if await caller.connection.fetchval(_END, session_id, caller.user_id) is None:
        await caller.check()
        raise NotFound("You have no such session.")
    _note_end(request, caller.user_id, session_id, "ended")


async def log_out(request: Request, caller: Caller) -> None:
    """End the session that asks."""
    await caller.connection.execute(_END, caller.session_id, caller.user_id)
    _note_end(request, caller.user_id, caller.session_id, "logout")


async def end_all(request: Request, connection: Connection, user_id: int, reason: str) -> None:
    """End every session of a person, whoever asks."""
    for ended in await connection.fetch(_END_EVERY, user_id):
        _note_end(request, user_id, ended["id"], reason)


async def end_others(request: Request, caller: Caller) -> None:
    """End every session of a person but the one that asks."""
    for ended in await caller.connection.fetch(_END_OTHERS, caller.user_id, caller.session_id):
        _note_end(request, caller.user_id, ended["id"], "another password")


def _note_end(request: Request, user_id: int, session_id: int, reason: str) -> None:
    events.note("session_ended", request, account_id=user_id, session_id=session_id, reason=reason)


def _digest(secret: str) -> bytes:
    # A random secret of 256 bits needs no slow hash.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _lifetimes(request: Request) -> tuple[timedelta, timedelta]:
    """How long a session lives without being refreshed, and at most."""
    settings = _settings(request)
    return timedelta(days=settings.refresh_token_expire_days), timedelta(days=settings.session_expire_days)


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
    items = await listed(caller, before, limit + 1)
    more = cursors.write("sessions", items[limit - 1]["id"]) if len(items) > limit else None
    page = {"items": items[:limit], "next_cursor": more}
    return Response(msgspec.json.encode(page), media_type="application/json")


class Confirmation(Body):
    """What is asked again before something that cannot be undone."""

    current_password: str = Field(max_length=1024)


@router.delete(
    "/sessions", status_code=204, response_class=Response, responses=answers(Forbidden, TooManyAttempts)
)
async def end_all_sessions(
    request: Request, bearer: MemberBearer, confirmation: Confirmation | None = None
) -> Response:
    """End all my sessions, this one too. The password is asked again."""
    async with bearer.transaction() as caller:
        user_id = caller.user_id
    proof = await prove_again(request, user_id, confirmation.current_password if confirmation else None)
    async with bearer.transaction() as caller:
        ended = await caller.connection.fetch(_END_ALL, user_id, proof.hash)
        if not ended:  # not even the session that asks
            await caller.check()
            raise changed_meanwhile()
    for each in ended:
        _note_end(request, user_id, each["id"], "all ended")
    return Response(status_code=204)


@router.delete("/sessions/{id}", status_code=204, response_class=Response, responses=answers(NotFound))
async def end_session(request: Request, caller: Member, id: Id) -> Response:  # noqa: A002 (the path's own name)
    """End one of my sessions; its tokens are refused from then on."""
    await end(request, caller, id)
    return Response(status_code=204)


@router.post("/logout", status_code=204, response_class=Response)
async def logout(request: Request, caller: Member) -> Response:
    """End this session: its tokens are refused from then on."""
    await log_out(request, caller)
    return Response(status_code=204)
