"""Logging in and out: the OAuth2 password form, refresh tokens (RFC 6749, 4.3 and 6), logout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from folkmoot import sessions
from folkmoot.addresses import normalised
from folkmoot.attempts import Attempts
from folkmoot.contract import answers
from folkmoot.database import Route, Transaction, transaction
from folkmoot.errors import (
    InvalidGrant,
    InvalidTokenRequest,
    MalformedRequest,
    TooManyAttempts,
    UnsupportedMediaType,
)
from folkmoot.sessions import Member, client_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import FormData

    from folkmoot.passwords import Passwords

_FORM = "application/x-www-form-urlencoded"


class TokenPair(BaseModel):
    """The answer of RFC 6749, 5.1."""

    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"])
    token_type: str = Field("bearer", examples=["bearer"])
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[1800])
    refresh_token: str = Field(
        description="Good for one use at POST /login/refresh.", examples=["1.GZbKR7g7vGs.mJk3pQ"]
    )


# A person's exact spelling comes first: accounts that are older than the rule that letter case does not tell
# addresses apart may share one but for case.
_FIND_ACCOUNT = """
    SELECT id::bigint, password,
           EXISTS (SELECT FROM sessions WHERE user_id = users.id AND client = $3) AS known
      FROM users
     WHERE email = $1 OR (lower(email) = lower($2) AND NOT duplicate_email)
     ORDER BY email = $1 DESC LIMIT 1
"""
_STORE_HASH = "UPDATE users SET password = $2 WHERE id = $1 AND password = $3"

router = APIRouter(tags=["sessions"], route_class=Route)


def _body(*media_types: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": properties}
    content = {media_type: {"schema": schema} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/login",
    response_model=TokenPair,
    responses=answers(InvalidGrant, InvalidTokenRequest, TooManyAttempts),
    openapi_extra=_body(
        _FORM,
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
    username, password = await _grant(request, "password", "username", "password")
    username = username.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    pool, passwords = request.app.state.pool, _passwords(request)
    client = client_of(request)
    email = normalised(username) or username
    attempts = Attempts(email, client)
    # A look before the wait, so that those who are refused anyway do not fill the queue.
    async with pool.acquire() as connection:
        account = await connection.fetchrow(_FIND_ACCOUNT, username, email, client)
        known = account is not None and account["known"]
        wait = await attempts.wait(connection, known=known)
    if wait:
        raise TooManyAttempts(wait)
    async with passwords.turn():
        # And one in the turn: a worker's guesses come one by one, so that hardly any slips past the count.
        async with pool.acquire() as connection:
            wait = await attempts.wait(connection, known=known)
        if wait:
            raise TooManyAttempts(wait)
        right, rehashed = await passwords.verify(password, account["password"] if account else None)
        async with transaction(pool) as connection:
            if account is not None and right:
                await attempts.succeeded(connection)
                if rehashed:
                    await connection.execute(_STORE_HASH, account["id"], rehashed, account["password"])
                return await sessions.begin(request, connection, account["id"])
            await attempts.failed(connection)
    raise InvalidGrant


@router.post(
    "/login/refresh",
    response_model=TokenPair,
    responses=answers(InvalidGrant, InvalidTokenRequest),
    openapi_extra=_body(
        _FORM,
        "application/json",
        required=["refresh_token"],
        grant_type={"const": "refresh_token", "type": "string"},
        refresh_token={"type": "string"},
        scope={"type": "string", "description": "Ignored: there is one scope."},
    ),
)
async def refresh(request: Request, connection: Transaction) -> Response:
    """Exchange a refresh token for new tokens. It is good for one use: a second one ends the session."""
    (token,) = await _grant(request, "refresh_token", "refresh_token")
    return await sessions.refresh(request, connection, token)


@router.post("/logout", status_code=204, response_class=Response)
async def logout(connection: Transaction, caller: Member) -> Response:
    """End this session: its tokens are refused from then on."""
    await sessions.end(connection, caller)
    return Response(status_code=204)


async def _grant(request: Request, grant_type: str, *fields: str) -> list[str]:
    """Read the form of a token request; its errors are those of RFC 6749, 5.2."""
    form = await _form(request)
    given = form.get("grant_type", [grant_type])
    if given not in ([grant_type], [""]):
        raise InvalidTokenRequest(f"The grant_type here is {grant_type}.", error="unsupported_grant_type")
    values = []
    for field in fields:
        found = form.get(field, [])
        if len(found) > 1:
            raise InvalidTokenRequest(f"The form has the field {field} more than once.")
        if not found or not isinstance(found[0], str) or not found[0]:
            raise InvalidTokenRequest(f"The form lacks the field {field}.")
        values.append(found[0])
    return values


async def _form(request: Request) -> Mapping[str, list[Any]]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in {_FORM, "multipart/form-data"}:
        async with request.form(max_files=0, max_fields=20) as form:
            return _lists(form)
    if media_type == "application/json" and request.url.path.rstrip("/").endswith("/refresh"):
        try:
            sent = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except msgspec.ValidationError:
            raise InvalidTokenRequest("Send a JSON object.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedRequest(f"The body is not valid JSON: {error}.") from None
        return {name: [value] for name, value in sent.items()}
    raise UnsupportedMediaType(f"Send the fields as a form with Content-Type: {_FORM}.")


def _lists(form: FormData) -> dict[str, list[Any]]:
    return {name: form.getlist(name) for name in form}


def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords
