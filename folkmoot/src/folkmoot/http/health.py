"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response

from folkmoot.http.problems import Unavailable
from folkmoot.postgres import pool, revisions

#: Nothing is half done where Lockstep has no tables; where this role may not read them, nobody knows.
_NEVER_MIGRATED = (
    asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InsufficientPrivilegeError,
)  # fmt: skip

router = APIRouter(tags=["health"])
_SECONDS = 5


@router.get("/healthz", responses={200: {"description": "The process lives"}}, response_class=Response)
async def healthz() -> Response:
    """Whether the process answers; the database is not asked."""
    return _json({"status": "ok"})


@router.get(
    "/readyz",
    responses={200: {"description": "The database is reachable and its schema fits this program"}},
    response_class=Response,
)
async def readyz(request: Request) -> Response:
    """Whether requests can be served: the database answers, at a schema that fits this program.

    A schema ahead of the program fits as long as it has all that the program uses and asks for nothing
    more: the program before a revision goes on serving while it is rolled out. A revision that is half done
    is told, and does no harm as long as the schema fits.
    """
    underway: list[revisions.Underway] = []
    reason = await unready(request.app.state.pool, underway)
    if reason is not None:
        raise Unavailable(f"{reason} {revisions.half_done(underway)}".rstrip())
    told = [asdict(each) for each in underway]
    return _json({"status": "ok", **({"half_done": told} if told else {})})


async def unready(pool: pool.Pool, underway: list[revisions.Underway]) -> str | None:
    """Why the service cannot serve now, or None where it can; the half-done revisions go to ``underway``."""
    try:
        async with asyncio.timeout(_SECONDS), pool.acquire() as connection:
            try:
                current = [row["version_num"] for row in await connection.fetch(revisions.CURRENT)]
            except asyncpg.UndefinedTableError:
                current = []
            with suppress(*_NEVER_MIGRATED):
                underway += [revisions.Underway(**row) for row in await connection.fetch(revisions.UNDERWAY)]
            distance = revisions.distance(current)
            if distance.missing and not (underway and distance.serves):
                return str(distance)
            if distance.unknown or underway:
                rows = await connection.fetch(revisions.COLUMNS, revisions.tables())
                mismatch = revisions.mismatch(revisions.Column(**row) for row in rows)
                if mismatch:
                    return (
                        f"{distance} {mismatch}."
                        if distance.unknown
                        else f"The schema is changing. {mismatch}."
                    )
            return None
    except TimeoutError:
        return f"The database did not answer within {_SECONDS} s."
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The text of a connection error may name hosts and roles, which are nobody's business here.
        return f"The database cannot be reached ({type(error).__name__})."


def _json(content: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), 200, {"Cache-Control": "no-store"}, "application/json")
