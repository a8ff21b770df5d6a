"""What every request passes first. Pure ASGI.

`Envelope` is outermost: an id, a log line and the headers that every answer has. Between it and `Edge` are
CORS and the proxies. `Edge` bounds what is read, takes a path with a trailing slash and HEAD as their plain
forms, and turns exceptions that nothing else answered into problems.
"""

from __future__ import annotations

import asyncio
import os
import re
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from structlog.contextvars import bind_contextvars, clear_contextvars

from folkmoot.http.answering import allowed_methods, from_exception, respond
from folkmoot.http.problems import AddressTooLong, HeadersTooLarge, MalformedRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from folkmoot.http.metrics import Metrics

#: The longest path with its query, and all headers together, in bytes.
ADDRESS_LIMIT = 16 * 1024
HEADERS_LIMIT = 32 * 1024
#: How long a client may leave a part of a long answer unread, in seconds, before the rest is given up.
ANSWER_SECONDS = 30.0
#: How much of a path the log has.
_LOGGED = 200
#: What begins the path of a page whose last part is good for something.
_SECRET = ("/reset/", "/verify/")
#: A request id that a proxy or a client may bring along.
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: What an answer says unless its route says otherwise: keep it nowhere, show nothing of it in a page, tell no
#: other page of its address.
_UNLESS_SET = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_ALWAYS = ((b"x-content-type-options", b"nosniff"),)
#: Over TLS only, which a trusted proxy in front ends.
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

_log = structlog.stdlib.get_logger("folkmoot")


class Envelope:
    """The outermost layer: whatever answers below it, the request has an id and a line in the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        brought = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = brought if _SANE_ID.fullmatch(brought) else os.urandom(12).hex().encode("ascii")
        clear_contextvars()
        bind_contextvars(request_id=request_id.decode("ascii"))
        method, path = scope["method"], scope["path"]
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id), *_ALWAYS]
                names = {name for name, _ in headers}
                headers += [each for each in _UNLESS_SET if each[0] not in names]
                if scope["scheme"] == "https":
                    headers.append(_OVER_TLS)
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        finally:
            client = scope.get("client")
            seconds = perf_counter() - began
            if self._metrics is not None:
                self._metrics.answered(scope, status, seconds)
            _log.info(
                "request",
                method=method,
                path=_shown(path),
                status=status,
                ms=round(seconds * 1000, 2),
                client=client[0] if client else None,
            )


def _shown(path: str) -> str:
    """A path as the log has it: not the whole of a long one, and not the secret of a link from a mail."""
    if path.startswith(_SECRET):
        return f"/{path.split('/')[1]}/…"
    return path if len(path) <= _LOGGED else f"{path[:_LOGGED]}…"


class _UnreadError(Exception):
    """A client leaves its answer unread."""


class Edge:
    """The layer around the application's routes."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        if len(path) > 1 and path[-1] == "/":
            scope["path"] = path = path[:-1]
        if method == "HEAD":
            scope["method"] = "GET"
        started = False

        async def send_bounded(message: Message) -> None:
            nonlocal started
            started = True
            if method == "HEAD" and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if not message.get("more_body"):
                await send(message)
                return
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await send(message)
            except TimeoutError:
                raise _UnreadError from None

        try:
            if (refusal := _refused(scope)) is not None:
                await refusal(scope, receive, send_bounded)
            elif method == "OPTIONS":
                await self._options(path)(scope, receive, send_bounded)
            else:
                await self._app(scope, receive, send_bounded)
        except (_UnreadError, ClientDisconnect):
            if not started:
                await respond(MalformedRequest("The body ended before it was whole."))(scope, receive, send)
        except Exception as error:
            problem = from_exception(error)
            if started:
                raise
            await respond(problem)(scope, receive, send_bounded)

    def _options(self, path: str) -> Response:
        allowed = allowed_methods(self._routes, path)
        return Response(status_code=204, headers={"Allow": allowed}) if allowed else respond(NotFound())


def _refused(scope: Scope) -> Response | None:
    """The answer to what is not read any further, whoever it is for."""
    if len(scope["path"]) + len(scope["query_string"]) > ADDRESS_LIMIT:
        return respond(AddressTooLong())
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_LIMIT:
        return respond(HeadersTooLarge())
    codings = [value.strip().lower() for name, value in scope["headers"] if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        return respond(MalformedRequest("The only Transfer-Encoding that is read is chunked."))
    # Granian adds an empty one where there is none.
    hosts = [bool(value) for name, value in scope["headers"] if name == b"host"]
    if hosts != [True] and scope["http_version"] == "1.1":
        return respond(MalformedRequest("A request has one Host header (RFC 9112, 3.2)."))
    return None
