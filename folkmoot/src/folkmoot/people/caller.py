"""Who is asking: access tokens (JWT), the session that each names, and what routes ask for."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import jwt
from fastapi import Depends, Request
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase

from folkmoot.http.parameters import MAX_ID
from folkmoot.http.problems import LoginRequired, TokenRefused
from folkmoot.postgres.pool import Transaction  # noqa: TC001 (FastAPI reads the annotations)

if TYPE_CHECKING:
    from datetime import timedelta

    from folkmoot.postgres.pool import Connection

ID = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The person who is asking, by a session that is alive."""

    user_id: int
    session_id: int


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
        if not ID.fullmatch(subject) or type(session) is not int or not 0 < session <= MAX_ID:
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
