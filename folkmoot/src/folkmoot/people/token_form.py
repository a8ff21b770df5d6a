"""The form of a token request: its fields, and its errors as RFC 6749, 5.2 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from folkmoot.http.problems import (
    Invalid,
    InvalidGrant,
    InvalidTokenRequest,
    MalformedRequest,
    UnsupportedMediaType,
)
from folkmoot.http.routes import decode_object, media_type, utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request


FORM = "application/x-www-form-urlencoded"
#: The most fields of a form, and the most characters of one that is used.
_FIELDS = 20
_LENGTH = 1024


async def read_form(request: Request, grant_type: str, *fields: str, json: bool = False) -> list[str]:
    """Read the fields of a token request from a form in UTF-8, and, where `json` says so, from JSON.

    Raises InvalidTokenRequest, MalformedRequest, UnsupportedMediaType, and InvalidGrant for a value that is
    longer than a password may be: it is not let through to what normalises, looks up or hashes it.
    """
    form = await _form(request, json=json)
    for field in (*fields, "grant_type", "scope"):
        if len(form.get(field, [])) > 1:
            raise InvalidTokenRequest(f"The form has the field {field} more than once.")
    given = form.get("grant_type", [grant_type])
    if given not in ([grant_type], [""]):
        raise InvalidTokenRequest(f"The grant_type here is {grant_type}.", error="unsupported_grant_type")
    values = []
    for field in fields:
        found = form.get(field, [])
        if not found or not isinstance(found[0], str) or not found[0]:
            raise InvalidTokenRequest(f"The form lacks the field {field}.")
        if len(found[0]) > _LENGTH:
            raise InvalidGrant
        values.append(found[0])
    return values


async def _form(request: Request, *, json: bool) -> Mapping[str, list[Any]]:
    sent = media_type(request)
    if sent == "application/json" and json and utf8(request):
        try:
            return {name: [value] for name, value in decode_object(await request.body()).items()}
        except Invalid:
            raise InvalidTokenRequest("Send a JSON object.") from None
    if sent != FORM or not utf8(request):
        raise UnsupportedMediaType(f"Send the fields as a form in UTF-8 with Content-Type: {FORM}.")
    try:
        text = (await request.body()).decode()
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except UnicodeDecodeError:
        raise MalformedRequest("The form is not UTF-8.") from None
    except ValueError:
        raise MalformedRequest(f"The form has more than {_FIELDS} fields.") from None
