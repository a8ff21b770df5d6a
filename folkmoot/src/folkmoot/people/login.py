"""Logging in for programs: a password, or a refresh token, for tokens (RFC 6749, 4.3 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot.http.answering import respond
from folkmoot.http.openapi import answers
from folkmoot.http.problems import InvalidGrant, InvalidTokenRequest, TooManyAttempts, TooManyRequests
from folkmoot.http.routes import Route
from folkmoot.people import limits
from folkmoot.people.credentials import AccountBlocked
from folkmoot.people.sessions import log_in, rotate
from folkmoot.people.token_form import FORM, read_form
from folkmoot.postgres.pool import transaction

if TYPE_CHECKING:
    from folkmoot.people.sessions import Begun
    from folkmoot.people.tokens import Tokens
    from folkmoot.postgres.pool import Pool

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenPair(BaseModel):
    """The answer of RFC 6749, 5.1."""

    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"])
    token_type: str = Field("bearer", examples=["bearer"])
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[1800])
    refresh_token: str = Field(
        description="Good for one use at POST /login/refresh.", examples=["1.GZbKR7g7vGs.mJk3pQ"]
    )


def _body(*media_types: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    content = {media_type: {"schema": schema} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _pair(request: Request, begun: Begun) -> Response:
    tokens: Tokens = request.app.state.tokens
    pair = {
        "access_token": tokens.write(begun.user_id, begun.session_id),
        "token_type": "bearer",
        "expires_in": tokens.seconds,
        "refresh_token": begun.refresh_token,
    }
    return Response(msgspec.json.encode(pair), 200, _NO_STORE, "application/json")


router = APIRouter(tags=["sessions"], route_class=Route)


@router.post(
    "/login",
    response_model=TokenPair,
    responses=answers(InvalidGrant, AccountBlocked, InvalidTokenRequest, TooManyAttempts),
    openapi_extra=_body(
        FORM,
        required=["username", "password"],
        grant_type={"const": "password", "type": "string"},
        username={"type": "string", "description": "The e-mail address."},
        password={"type": "string", "format": "password"},
        scope={"type": "string", "description": "Ignored: there is one scope."},
    ),
)
async def login(request: Request) -> Response:
    """Log in: begin a session. The form is OAuth2's; `username` is the e-mail address.

    An unknown address takes as long as a wrong password, and is told the same.
    """
    username, password = await read_form(request, "password", "username", "password")
    return _pair(request, await log_in(request, username, password))


@router.post(
    "/login/refresh",
    response_model=TokenPair,
    responses=answers(InvalidGrant, InvalidTokenRequest, TooManyRequests),
    openapi_extra=_body(
        FORM,
        "application/json",
        required=["refresh_token"],
        grant_type={"const": "refresh_token", "type": "string"},
        refresh_token={"type": "string"},
        scope={"type": "string", "description": "Ignored: there is one scope."},
    ),
)
async def refresh(request: Request) -> Response:
    """Exchange a refresh token for new tokens. It is good for one use: a second one ends the session."""
    (token,) = await read_form(request, "refresh_token", "refresh_token", json=True)
    pool: Pool = request.app.state.pool
    await limits.count(request, pool, limits.REFRESHES)
    async with transaction(pool) as connection:
        rotated = await rotate(request, connection, token)
    return respond(rotated) if isinstance(rotated, InvalidGrant) else _pair(request, rotated)
