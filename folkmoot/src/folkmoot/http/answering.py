"""How errors are answered: every exception becomes a problem, and every problem is rendered in one place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg
import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from folkmoot.http.problems import (
    MEDIA_TYPE,
    Conflict,
    InternalError,
    Invalid,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    Unavailable,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

#: How much of the name of an unknown member an error repeats.
_LONGEST_NAME = 100
#: How many errors one answer lists.
MOST_ERRORS = 20

_log = structlog.stdlib.get_logger("folkmoot")
_encode = msgspec.json.Encoder().encode

#: SQLSTATE → what the client is told, by the whole code first, then by its class (the first two characters).
#: A feature catches a code that means more to it (a unique violation on registration) before it comes here.
SQLSTATES: dict[str, tuple[type[Problem], str | None]] = {
    "08": (Unavailable, None),
    "22": (Invalid, "A value is outside what the database can hold."),
    "23502": (Invalid, "A required value is missing."),
    "23503": (Conflict, "It refers to something that is not there (any more)."),
    "23505": (Conflict, "It exists already."),
    "23514": (Invalid, "A value breaks a rule of the database."),
    # A connection is refused: the settings of the database or of the service are being changed.
    "28": (Unavailable, None),
    "3D000": (Unavailable, None),
    "55000": (Unavailable, None),
    "25006": (Unavailable, "The database takes no writes now."),
    "40": (Unavailable, "Others changed the same thing at once."),
    "53": (Unavailable, "The database is at its limit."),
    "55P03": (Unavailable, "The database is busy."),
    "57": (Unavailable, None),
}


def from_sqlstate(sqlstate: str | None) -> Problem | None:
    """Find the problem that a database error is; None where it is a fault of the program."""
    code = sqlstate or ""
    kind, detail = SQLSTATES.get(code) or SQLSTATES.get(code[:2]) or (None, None)
    return kind(detail) if kind else None


def respond(problem: Problem) -> Response:
    """Render a problem: the one place that does."""
    headers = dict(problem.headers or {})
    if problem.status in {400, 401, 403, 429, 503}:
        headers["Cache-Control"] = "no-store"
    return Response(_encode(problem.body()), problem.status, headers, MEDIA_TYPE)


def pointer(path: Sequence[object]) -> str:
    """Write a place in the body as a JSON Pointer in a URI fragment (RFC 6901, 6)."""
    parts = (_short(str(part)).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join("/" + quote(part, safe="~$&+,;=@!*'():", errors="replace") for part in parts)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def invalid(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Turn Pydantic's findings into a problem: what is wrong and where, without repeating what was sent."""
    found: list[dict[str, str]] = []
    for error in errors[:MOST_ERRORS]:
        source, *path = error["loc"]
        detail = str(error["msg"]).removeprefix("Value error, ")
        if source == "body":
            found.append({"pointer": pointer(path), "detail": detail})
        else:
            found.append({"parameter": ".".join(map(str, path)), "in": str(source), "detail": detail})
    what = "1 value is" if len(errors) == 1 else f"{len(errors)} values are"
    more = len(errors) - len(found)
    where = f"see errors, and {more} more that are not listed" if more else "see errors"
    return Invalid(f"{what} not acceptable: {where}.", errors=found)


async def on_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette hands over what was registered
    errors = error.errors()
    # FastAPI leaves a body of another media type undecoded: then the type is what is wrong.
    if isinstance(error.body, bytes) and error.body and errors[0]["loc"] == ("body",):
        return respond(UnsupportedMediaType())
    return respond(invalid(errors))


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> str:
    """List the methods that a path answers, for `Allow`; empty where there is no such path."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods | {"OPTIONS"})) if methods else ""


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer with problems, and with what Starlette and FastAPI raise themselves."""
    if isinstance(error, Problem):
        return respond(error)
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code == 404:
        return respond(NotFound())
    if error.status_code == 405:
        allowed = allowed_methods(request.app.routes, request.scope["path"])
        return respond(MethodNotAllowed(headers={"Allow": allowed}))
    if error.status_code == 400:
        return respond(MalformedRequest(f"{error.detail.rstrip(chr(46))}."))
    return respond(from_exception(error))


def from_exception(error: Exception) -> Problem:
    """Turn any exception into a problem. What is the program's own fault is logged and told as a 500."""
    problem: Problem | None = None
    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, asyncpg.PostgresError):
        problem = from_sqlstate(error.sqlstate)
    elif isinstance(error, asyncpg.DataError):
        problem = Invalid("A value is outside what the database can hold.")
    elif isinstance(
        error,
        (
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
            asyncio.TimeoutError,
        ),
    ):
        problem = Unavailable()
    if problem is None:
        _log.error("unhandled_exception", exc_info=error)
        return InternalError()
    if isinstance(problem, Unavailable):
        _log.warning("unavailable", reason=type(error).__name__)
    return problem
