"""The OpenAPI document: FastAPI's, with every problem that a route can answer with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from folkmoot.http.problems import (
    MEDIA_TYPE,
    TYPE_PATH,
    AddressTooLong,
    BodyTooLarge,
    HeadersTooLarge,
    InternalError,
    Invalid,
    LoginRequired,
    MalformedRequest,
    Problem,
    RequestTimeout,
    TokenRefused,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant


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
            _declare(operation, changing=method not in {"GET", "HEAD"})
            if public and any(call in optional_logins for call in _calls(route.dependant)):
                operation["security"].append({})
    return document


def _declare(operation: dict[str, Any], *, changing: bool) -> None:
    """Add what any operation with such parameters, such a body or such a login can answer."""
    kinds: list[type[Problem]] = [AddressTooLong, HeadersTooLarge, InternalError, Unavailable]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        kinds += [MalformedRequest, RequestTimeout, BodyTooLarge, UnsupportedMediaType]
    if "application/json" in body or operation.get("parameters"):
        kinds += [Invalid]
    if "security" in operation:
        kinds += [LoginRequired, TokenRefused]
        if changing:
            kinds += [TooManyRequests]
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
