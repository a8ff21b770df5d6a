"""What every route does first: it reads the body whole, within bounds, before anything else is done.

So no connection, turn or transaction is held while a client is waited for, and no feature can forget it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from folkmoot.http.problems import (
    BodyTooLarge,
    Invalid,
    MalformedRequest,
    RequestTimeout,
    UnsupportedMediaType,
)
from folkmoot.postgres import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Message, Receive

    _Handle: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

#: The longest body in bytes, unless a route says another.
BODY_LIMIT = 64 * 1024
#: How long a client may take for its body, in seconds.
BODY_SECONDS = 20.0

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']*)""", re.IGNORECASE)


class Route(requests.Route):
    """A route whose body is there, whole, before its dependencies are asked for."""

    #: The longest body that is read, in bytes.
    body_limit: ClassVar[int] = BODY_LIMIT

    def get_route_handler(self) -> _Handle:
        handle = super().get_route_handler()
        if self.body_field is not None or "requestBody" in (self.openapi_extra or {}):
            handle = self.read_first(handle)
        names = frozenset(field.alias for field in self.dependant.query_params)
        return _each_once(handle, names) if names else handle

    def read_first(self, handle: _Handle) -> _Handle:
        """Have the body there, whole and within bounds, before a route is handled."""

        async def handle_read(request: Request) -> Response:
            bounded = _Request(request.scope, _limited(request, self.body_limit))
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    await bounded.body()
            except TimeoutError:
                raise RequestTimeout from None
            except ClientDisconnect:
                raise MalformedRequest("The body ended before it was whole.") from None
            return await handle(bounded)

        return handle_read


def _each_once(handle: _Handle, names: frozenset[str]) -> _Handle:
    """Refuse a parameter that is there more than once: who looks at one of them may act upon another."""

    async def handle_single(request: Request) -> Response:
        if b"&" in request.scope["query_string"]:
            given = Counter(name for name, _ in request.query_params.multi_items() if name in names)
            if repeated := [name for name, times in given.items() if times > 1]:
                raise Invalid(
                    errors=[
                        {"parameter": name, "in": "query", "detail": "This parameter is there more than once"}
                        for name in repeated
                    ]
                )
        return await handle(request)

    return handle_single


class _Request(Request):
    """A request whose JSON is read as RFC 8259 has it: UTF-8, an object, no NaN."""

    async def json(self) -> Any:
        if not utf8(self):
            raise UnsupportedMediaType("JSON is UTF-8: send it without a charset.")
        body = await self.body()
        # No body, where a route can do without one; FastAPI refuses it elsewhere.
        return None if body.strip() == b"null" else decode_object(body)


def decode_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; raises MalformedRequest, and Invalid for other JSON than an object.

    By the standard library: what msgspec takes for a float of 300 digits adds up to seconds.
    """
    try:
        found = json.loads(body.decode(), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not valid JSON: it is not UTF-8.") from None
    except RecursionError:
        raise MalformedRequest("The body is not valid JSON: it is nested too deeply.") from None
    except ValueError as error:  # NaN, or an integer of more digits than Python reads
        raise MalformedRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Invalid(errors=[{"pointer": "#", "detail": "Input should be an object"}])
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"there is no {name}")


def media_type(request: Request) -> str:
    """The media type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def utf8(request: Request) -> bool:
    """Whether the body is sent as UTF-8, or without a charset."""
    found = _CHARSET.search(request.headers.get("content-type", ""))
    return found is None or found[1].lower() in {"utf-8", "utf8"}


def _limited(request: Request, limit: int) -> Receive:
    """The request's messages; raises BodyTooLarge where the body is, or says that it is, too long."""
    size = 0
    receive = request.receive
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise BodyTooLarge(limit)

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLarge(limit)
        return message

    return receive_limited
