"""The form of a token request: its fields, and its errors as RFC 6749, 5.2 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from folkmoot.http.problems import (
    InvalidTokenRequest,
    MalformedRequest,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request
    from starlette.datastructures import FormData


FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request, grant_type: str, *fields: str) -> list[str]:
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
    if media_type in {FORM, "multipart/form-data"}:
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
    raise UnsupportedMediaType(f"Send the fields as a form with Content-Type: {FORM}.")


def _lists(form: FormData) -> dict[str, list[Any]]:
    return {name: form.getlist(name) for name in form}
