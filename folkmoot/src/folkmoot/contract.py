"""What the API promises: types that every feature's parameters and bodies share, and the OpenAPI document."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Path, Query
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from folkmoot.errors import (
    MEDIA_TYPE,
    TYPE_PATH,
    BodyTooLarge,
    InternalError,
    Invalid,
    LoginRequired,
    MalformedRequest,
    Problem,
    TokenRefused,
    Unavailable,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant

#: The largest id: what every JSON reader holds exactly (RFC 7493, 2.2), far below PostgreSQL's bigint.
MAX_ID = 2**53 - 1
#: The most items on a page.
MAX_LIMIT = 100

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,40})")


def _decimal(value: object) -> object:
    # Pydantic also takes " 1", "1_0" and "1.0", which the schema does not promise.
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("Input should be a whole number in decimal digits")
    return value


class Body(BaseModel):
    """A JSON body: types are taken strictly (0.9 and true are no integers), unknown members are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _integers(cls, sent: Any) -> Any:
        # JSON has one kind of number: 1.0 is an integer (JSON Schema, 6.1.1), as the contract says.
        if not isinstance(sent, dict):
            return sent
        return {
            name: int(value) if type(value) is float and value.is_integer() else value
            for name, value in sent.items()
        }


#: PostgreSQL's text holds every character but NUL.
NO_NUL = r"^[^\x00]*$"

#: The id of somebody or something in a query.
Reference = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_decimal)]
#: The id in a path. (The bounds come before the validator, or they are missing from the schema.)
Id = Annotated[int, Path(ge=1, le=MAX_ID, examples=[1]), BeforeValidator(_decimal)]
#: How many items a page has.
Limit = Annotated[
    int, Query(ge=1, le=MAX_LIMIT, description="How many items a page has."), BeforeValidator(_decimal)
]
#: Where a page begins.
Cursor = Annotated[
    str | None,
    Query(
        max_length=512,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Where the page begins: the `next_cursor` of the page before it, unaltered.",
    ),
]


class InvalidCursor(Invalid):
    """The cursor of a page is not one that the service gave out, or it belongs to another list."""

    kind, title = "invalid-cursor", "The cursor is not one of ours"
    example = "Pass the next_cursor of the page before, for the same list, unaltered."

    def __init__(self) -> None:
        super().__init__(errors=[{"parameter": "cursor", "in": "query", "detail": self.example}])


class Cursors:
    """Writes and reads the cursors of keyset pages; an altered one is refused."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"cursors:" + secret.encode()).digest()

    def write(self, purpose: str, *sort_key: Any) -> str:
        """Seal where the next page of one list (the purpose: its order and filters) begins."""
        body = msgspec.json.encode(sort_key)
        return _base64(self._seal(purpose, body) + body)

    def read(self, purpose: str, cursor: str) -> list[Any]:
        """Open a cursor; raises InvalidCursor where it was altered or made for another list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise InvalidCursor from None
        seal, body = raw[:16], raw[16:]
        # The spelling counts too: the last character of base64 has bits that decode to nothing.
        if not hmac.compare_digest(seal, self._seal(purpose, body)) or _base64(raw) != cursor:
            raise InvalidCursor
        values: list[Any] = msgspec.json.decode(body)
        return values

    def _seal(self, purpose: str, body: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\x00" + body, "sha256")[:16]


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def answers(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that a route answers with, for its ``responses``.

    Those that follow from its parameters, its body, its login and its database are added by `openapi`.
    """
    by_status: dict[int | str, list[type[Problem]]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {status: _response(kinds) for status, kinds in by_status.items()}


def _response(kinds: list[type[Problem]]) -> dict[str, Any]:
    return {
        "description": " Or: ".join(dict.fromkeys(kind.title for kind in kinds)),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.kind: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: type[Problem]) -> dict[str, Any]:
    example = {
        "type": TYPE_PATH + kind.kind,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.example,
    }
    if kind is Invalid:
        example["errors"] = [{"pointer": "#/title", "detail": "String should have at least 1 character"}]
    return example


_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "Problem details, RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Which kind of problem."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong here, and what would be right."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer into the body, RFC 6901."},
                    "parameter": {"type": "string"},
                    "in": {"enum": ["path", "query", "header", "cookie"]},
                    "detail": {"type": "string"},
                },
            },
        },
        "error": {"type": "string", "description": "The error code of RFC 6749, 5.2."},
        "error_description": {"type": "string"},
    },
}


def openapi(app: FastAPI, optional_logins: Container[Callable[..., Any]]) -> dict[str, Any]:
    """Write the OpenAPI document: FastAPI's, with every status that a route can answer.

    `optional_logins` are the dependencies of routes that anybody may read unless PUBLIC_READ is off.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for generated in ("HTTPValidationError", "ValidationError"):
        schemas.pop(generated, None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    public = app.state.settings.public_read
    for route in app.routes:
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            _declare(operation)
            if public and any(call in optional_logins for call in _calls(route.dependant)):
                operation["security"].append({})
    return document


def _declare(operation: dict[str, Any]) -> None:
    """Add what any operation with such parameters, such a body or such a login can answer."""
    kinds: list[type[Problem]] = [InternalError, Unavailable]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        kinds += [MalformedRequest, BodyTooLarge, UnsupportedMediaType]
    if "application/json" in body or operation.get("parameters"):
        kinds += [Invalid]
    if "security" in operation:
        kinds += [LoginRequired, TokenRefused]
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status, declared in answers(*kinds).items():
        content = responses.setdefault(str(status), declared).setdefault("content", {})
        examples = content.setdefault(MEDIA_TYPE, declared["content"][MEDIA_TYPE]).setdefault("examples", {})
        for name, example in declared["content"][MEDIA_TYPE]["examples"].items():
            examples.setdefault(name, example)
    operation["responses"] = dict(sorted(responses.items()))


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)
