"""What every request passes first: its id, its log line, its path and method, the size of its body.

Pure ASGI. Exceptions that nothing else answered end here.
"""

from __future__ import annotations

import os
import re
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from starlette.responses import Response
from structlog.contextvars import bind_contextvars, clear_contextvars

from folkmoot.http.answering import allowed_methods, from_exception, respond
from folkmoot.http.problems import BodyTooLarge, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The longest body that is read, in bytes.
BODY_LIMIT = 1024 * 1024
#: A request id that a proxy or a client may bring along.
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_log = structlog.stdlib.get_logger("folkmoot")


def _limited(receive: Receive) -> Receive:
    """Count the body as it comes in, however it is sent, and stop at the limit."""
    size = 0

    async def receive_counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > BODY_LIMIT:
            raise BodyTooLarge
        return message

    return receive_counted


class Edge:
    """The outermost layer of the service, around the application."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id, length = _headers(scope)
        clear_contextvars()
        bind_contextvars(request_id=request_id.decode("ascii"))
        method, path = scope["method"], scope["path"]
        if len(path) > 1 and path[-1] == "/":
            scope["path"] = path = path[:-1]
        if method == "HEAD":
            scope["method"] = "GET"
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            if length > BODY_LIMIT:
                await respond(BodyTooLarge())(scope, receive, send_marked)
            elif method == "OPTIONS":
                await self._options(path)(scope, receive, send_marked)
            else:
                await self._app(scope, _limited(receive), send_marked)
        except Exception as error:
            problem = from_exception(error)
            if status:
                raise
            await respond(problem)(scope, receive, send_marked)
        finally:
            client = scope.get("client")
            _log.info(
                "request",
                method=method,
                path=path,
                status=status,
                ms=round((perf_counter() - began) * 1000, 2),
                client=client[0] if client else None,
            )

    def _options(self, path: str) -> Response:
        allowed = allowed_methods(self._routes, path)
        return Response(status_code=204, headers={"Allow": allowed}) if allowed else respond(NotFound())


def _headers(scope: Scope) -> tuple[bytes, int]:
    """Find the request's id (its own, if it is a sane one) and the length that it declares for its body."""
    request_id = b""
    length = 0
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if _SANE_ID.fullmatch(value):
                request_id = value
        elif name == b"content-length" and value.isdigit():
            length = int(value[:20])
    return request_id or os.urandom(12).hex().encode("ascii"), length
