"""Who is asking: the session that an access token names, and what routes ask for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import Depends, Request
from fastapi.openapi.models import OAuth2 as OAuth2Model
from fastapi.openapi.models import OAuthFlowPassword, OAuthFlows
from fastapi.security.base import SecurityBase

from folkmoot.http.problems import LoginRequired, TokenRefused
from folkmoot.people import limits
from folkmoot.people.tokens import Claims
from folkmoot.postgres import reading
from folkmoot.postgres.pool import Connection, transaction
from folkmoot.postgres.requests import Transaction  # noqa: TC001 (FastAPI reads the annotations)
from folkmoot.postgres.statement import Statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    import asyncpg

    from folkmoot.people.limits import Limit
    from folkmoot.people.tokens import Tokens
    from folkmoot.postgres.pool import Pool
    from folkmoot.postgres.reading import Reading

#: The session that asks, for any statement: one row where it lives, and none where it or its person is gone.
#: A look-up by primary key. It says whether the last use is noted, which is done every five minutes at most.
SESSION = """
    SELECT last_used_at >= now() - interval '5 minutes' AS noted FROM sessions
     WHERE id = :session AND user_id = CAST(:person AS bigint) AND expires_at > now()
"""
#: The same for somebody who is not logged in, with null for the parameters.
NOBODY = "SELECT TRUE AS noted WHERE CAST(:session AS bigint) IS NULL"
_LOOK_UP = Statement(SESSION)
#: The same with what was seen, where reads go to replicas: whether the session lives is asked of the primary.
_LOOK_UP_AND_SEEN = Statement(f"SELECT s.noted, ({reading.SEEN}) AS seen FROM ({SESSION}) AS s")
# A concurrent request of the same session may be noting it already: nobody waits for that.
# A session of the pages has no tokens to be refreshed, so its use is what renews it.
_NOTE_USE = Statement("""
    UPDATE sessions
       SET last_used_at = now(),
           expires_at = CASE WHEN CAST(:idle AS interval) IS NULL THEN expires_at
                             ELSE least(now() + :idle, created_at + CAST(:most AS interval)) END
     WHERE id = (SELECT id FROM sessions WHERE id = :session FOR UPDATE SKIP LOCKED)
""")


def session_ended() -> TokenRefused:
    """What is said where the session that a token names has ended, or its account is gone."""
    return TokenRefused("The session of this access token has ended.")


class Renewal(NamedTuple):
    """How long a session lives on from its use, and at most from its beginning."""

    idle: timedelta | None = None
    most: timedelta | None = None


#: What holds for those whose tokens are refreshed.
_NOT_BY_USE = Renewal()


async def _look_up(connection: Connection | Pool, claims: Claims, renewal: Renewal = _NOT_BY_USE) -> None:
    """See to it that a claimed session lives, and note its use; raises TokenRefused."""
    row = await _LOOK_UP.row(connection, person=claims.user_id, session=claims.session_id)
    if row is None:
        raise session_ended()
    if not row["noted"]:
        await _NOTE_USE.row(connection, session=claims.session_id, **renewal._asdict())


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose session lives, and the transaction that found it so: one is not to be had without the
    other.
    """

    user_id: int
    session_id: int
    connection: Connection

    async def check(self) -> None:
        """Look the session up once more, where nothing was found to do; raises TokenRefused."""
        await _look_up(self.connection, Claims(self.user_id, self.session_id))


class Bearer:
    """Somebody who brings a token with our signature (RFC 6750), before the database was asked.

    Who it is does not come out of here but by a look-up of the session: within a statement (`ask`), or at the
    beginning of a transaction. No connection is held in between.
    """

    known = True

    def __init__(
        self,
        pool: Pool,
        claims: Claims,
        renewal: Renewal = _NOT_BY_USE,
        reading: Reading | None = None,
    ) -> None:
        self._pool = pool
        self._claims = claims
        self._renewal = renewal
        self._reading = reading
        self._lives = False

    async def ask(
        self, statement: Statement, *, milliseconds: int | None = None, **values: Any
    ) -> list[asyncpg.Record]:
        """Run a statement that looks the session up itself, as SESSION, and return its rows.

        Each row has SESSION's column `noted`; `:person` and `:session` are filled in here. It may take so
        many milliseconds, where they are given. In a request that changes nothing it is asked of a replica,
        where there is one. Raises TokenRefused where there is no row because the session has ended.
        """
        values |= {"person": self._claims.user_id, "session": self._claims.session_id}
        if self._reading is not None:
            if not self._lives:
                await self._begin(self._reading)
            return await self._reading.run(partial(_rows, statement, milliseconds, values))
        rows = await _rows(statement, milliseconds, values, self._pool)
        if not self._lives and not (rows and rows[0]["noted"]):
            await self.check()
        self._lives = True
        return rows

    async def _begin(self, read: Reading) -> None:
        claims = self._claims
        row = await _LOOK_UP_AND_SEEN.row(
            self._pool, person=claims.user_id, session=claims.session_id, keys=read.keys
        )
        if row is None:
            raise session_ended()
        if not row["noted"]:  # a replica may take the session for one that has expired
            await _NOTE_USE.row(self._pool, session=claims.session_id, **self._renewal._asdict())
            read.primary = True
        await read.begin(row["seen"])
        self._lives = True

    async def check(self) -> None:
        """Look the session up; raises TokenRefused where it has ended."""
        await _look_up(self._pool, self._claims, self._renewal)

    async def count(self, request: Request, limit: Limit) -> None:
        """Count a request against the person; raises TooManyRequests."""
        await limits.count(request, self._pool, limit, user_id=self._claims.user_id)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Caller]:
        """A transaction that begins with the look-up, committed at the end; raises TokenRefused."""
        if self._reading is not None:
            self._reading.primary = True
        async with transaction(self._pool) as connection:
            yield await _caller(connection, self._claims, self._renewal)


class Anonymous:
    """Somebody who is not logged in, where anybody may read."""

    known = False

    def __init__(self, pool: Pool, reading: Reading | None = None) -> None:
        self._pool = pool
        self._reading = reading

    async def ask(
        self, statement: Statement, *, milliseconds: int | None = None, **values: Any
    ) -> list[asyncpg.Record]:
        """Run a statement that has NOBODY where those of a `Bearer` have SESSION."""
        values |= {"person": None, "session": None}
        if self._reading is not None:
            return await self._reading.run(partial(_rows, statement, milliseconds, values))
        return await _rows(statement, milliseconds, values, self._pool)

    async def count(self, request: Request, limit: Limit) -> None:
        """Count a request against the client; raises TooManyRequests."""
        await limits.count(request, self._pool, limit)


async def _rows(
    statement: Statement, milliseconds: int | None, values: dict[str, Any], connection: Connection | Pool
) -> list[asyncpg.Record]:
    if milliseconds is None:
        return await statement.rows(connection, **values)
    async with transaction(connection) as bounded:
        await bounded.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        return await statement.rows(bounded, **values)


async def _caller(connection: Connection, claims: Claims, renewal: Renewal = _NOT_BY_USE) -> Caller:
    await _look_up(connection, claims, renewal)
    return Caller(claims.user_id, claims.session_id, connection)


def _claims(request: Request) -> Claims | None:
    """What the bearer token says (RFC 6750, 2.1), None without one; raises TokenRefused."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    tokens: Tokens = request.app.state.tokens
    claims = tokens.read(token.strip())
    reading.about(request, claims.user_id)
    return claims


def _required(request: Request) -> Claims:
    claims = _claims(request)
    if claims is None:
        raise LoginRequired
    return claims


def _optional(request: Request) -> Claims | None:
    return _claims(request) if request.app.state.settings.public_read else _required(request)


class _Login(SecurityBase):
    """The security scheme, in OpenAPI and as the dependencies that enforce it."""

    def __init__(self) -> None:
        flow = OAuthFlowPassword(tokenUrl="login", refreshUrl="login/refresh", scopes={})
        self.model = OAuth2Model(flows=OAuthFlows(password=flow))
        self.scheme_name = "login"


async def _count_write(request: Request) -> None:
    """Count what changes something against the person, before a connection is taken."""
    if request.method not in reading.SAFE:
        claims = _required(request)
        await limits.count(request, request.app.state.pool, limits.WRITES, user_id=claims.user_id)


class _Member(_Login):
    async def __call__(
        self, request: Request, _counted: Annotated[None, Depends(_count_write)], connection: Transaction
    ) -> Caller:
        return await _caller(connection, _required(request))


class _MemberBearer(_Login):
    async def __call__(self, request: Request) -> Bearer:
        claims = _required(request)
        await _count_write(request)
        return Bearer(request.app.state.pool, claims, reading=reading.of(request))


class _Reader(_Login):
    async def __call__(self, request: Request) -> Bearer | Anonymous:
        pool, claims, read = request.app.state.pool, _optional(request), reading.of(request)
        return Bearer(pool, claims, reading=read) if claims else Anonymous(pool, read)


_reader = _Reader()
#: The dependencies of routes that anybody may read, unless PUBLIC_READ is off.
OPTIONAL_LOGINS = (_reader,)

#: What a route asks for, by what it needs. Without a token all of them answer 401, those of readers where
#: PUBLIC_READ is off. Somebody who is logged in, in the request's transaction:
Member = Annotated[Caller, Depends(_Member())]
#: Somebody who is logged in, for routes that ask a single statement, or wait for something on the way:
MemberBearer = Annotated[Bearer, Depends(_MemberBearer())]
#: Whoever may read, for routes that ask single statements:
Reader = Annotated[Bearer | Anonymous, Depends(_reader)]
