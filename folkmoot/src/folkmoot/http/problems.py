"""What goes wrong, as clients are told it: problem details (RFC 9457) from one renderer.

A domain error is a subclass of `Problem`: it carries its status, its type and its title, and its docstring
is the text that `docs/errors.md` and `GET /errors/{kind}` show. A database error becomes one by its SQLSTATE.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Mapping


MEDIA_TYPE = "application/problem+json"
#: Where a type's text is served; with the kind it is the `type` member, a URI reference (RFC 9457, 3.1.1).
TYPE_PATH = "/errors/"


class Problem(HTTPException):
    """An error that is told to the client.

    `detail` says what is wrong with this request and what would be right. It never repeats a secret. Further
    keyword arguments become members of the JSON object.
    """

    status: ClassVar[int]
    kind: ClassVar[str]
    title: ClassVar[str]
    #: A detail as it is really sent, for the examples of OpenAPI.
    example: ClassVar[str]

    def __init__(
        self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(self.status, detail or self.example, headers)
        self.members = members

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        KINDS[cls.kind] = cls

    @classmethod
    def explanation(cls) -> str:
        """Say what this type means and what to do about it."""
        return " ".join((inspect.getdoc(cls) or "").split())

    def body(self) -> dict[str, Any]:
        return {
            "type": TYPE_PATH + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


#: Every type, by the last part of its URI.
KINDS: dict[str, type[Problem]] = {}


class MalformedRequest(Problem):
    """The body cannot be read at all: broken JSON, bytes that are not UTF-8, a broken form, half a body."""

    status, kind, title = 400, "malformed-request", "The request cannot be read"
    example = "The body is not valid JSON: Expecting ',' delimiter at character 17."


class InvalidGrant(Problem):
    """The password or the refresh token is wrong.

    The e-mail address and the password do not belong together, or the refresh token is unknown, has expired
    or was used before. Carries `error` and `error_description` as RFC 6749, 5.2 has them.
    """

    status, kind, title = 400, "invalid-grant", "The credentials are not accepted"
    example = "The e-mail address or the password is wrong."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, error="invalid_grant", error_description=detail or self.example)


class InvalidTokenRequest(Problem):
    """The form sent for a token cannot be used.

    It lacks a field, repeats one, or names another grant type than the one that is answered here. Carries
    `error` and `error_description` as RFC 6749, 5.2 has them.
    """

    status, kind, title = 400, "invalid-token-request", "The form for a token is wrong"
    example = "The form lacks the field password."

    def __init__(self, detail: str | None = None, *, error: str = "invalid_request") -> None:
        super().__init__(detail, error=error, error_description=detail or self.example)


class LoginRequired(Problem):
    """The route is for people who are logged in, and the request carries no bearer token."""

    status, kind, title = 401, "login-required", "A login is required"
    example = "Send an access token from POST /login as: Authorization: Bearer <token>."

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="folkmoot"'})


class TokenRefused(Problem):
    """The bearer token is not one of ours, has expired, or its session was ended.

    `invalid_token` in RFC 6750, 3.1. Refresh it, or log in again.
    """

    status, kind, title = 401, "token-refused", "The access token is refused"
    example = "The access token has expired."

    def __init__(self, detail: str | None = None) -> None:
        described = detail or self.example
        challenge = f'Bearer realm="folkmoot", error="invalid_token", error_description="{described}"'
        super().__init__(described, headers={"WWW-Authenticate": challenge})


class Forbidden(Problem):
    """The person is known, and may not do this.

    It belongs to somebody else, or the password that has to confirm it is wrong.
    """

    status, kind, title = 403, "forbidden", "This is not yours to do"
    example = "Only its owner can change a post."


class NotFound(Problem):
    """There is no such thing, or it is not to be seen by whoever asks."""

    status, kind, title = 404, "not-found", "Nothing is found here"
    example = "There is nothing at this address."


class MethodNotAllowed(Problem):
    """The path exists and does not answer to this method; `Allow` lists those that it answers."""

    status, kind, title = 405, "method-not-allowed", "The method is not allowed here"
    example = "This path answers to the methods in the Allow header."


class Conflict(Problem):
    """What is asked for contradicts what is already there."""

    status, kind, title = 409, "conflict", "This contradicts what is there"
    example = "It exists already."


class RequestTimeout(Problem):
    """The body did not come in time: it may take 20 seconds."""

    status, kind, title = 408, "request-timeout", "The body came too slowly"
    example = "The body did not come within 20 seconds."

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


class BodyTooLarge(Problem):
    """The body is longer than the route reads, however it is sent.

    512 KiB where a post is written, 128 KiB where a comment is, 64 KiB elsewhere.
    """

    status, kind, title = 413, "body-too-large", "The body is too large"
    example = "A body may have 65536 bytes here."

    def __init__(self, limit: int = 65536) -> None:
        super().__init__(f"A body may have {limit} bytes here.")


class AddressTooLong(Problem):
    """The path with its query is longer than the service reads: 16 KiB."""

    status, kind, title = 414, "address-too-long", "The address is too long"
    example = "A path with its query may have 16384 bytes."


class UnsupportedMediaType(Problem):
    """The body is sent as another media type than the route reads."""

    status, kind, title = 415, "unsupported-media-type", "The media type is not supported"
    example = "Send the body as JSON with Content-Type: application/json."


class Invalid(Problem):
    """The request can be read and its values are not acceptable.

    `errors` lists each with its place: `pointer` (a JSON Pointer into the body, RFC 6901) or `parameter` and
    `in`. It lists 20 at most; `detail` says how many more there are.
    """

    status, kind, title = 422, "invalid", "The values are not acceptable"
    example = "1 value is not acceptable: see errors."


class TooManyAttempts(Problem):
    """Too many failed logins for this address or from this client.

    `Retry-After` says when to try again. A login from elsewhere is not hindered.
    """

    status, kind, title = 429, "too-many-attempts", "Too many failed attempts"
    example = "Too many failed logins. Try again in 840 seconds."

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"Too many failed logins. Try again in {retry_after} seconds.",
            headers={"Retry-After": str(retry_after)},
        )


class TooManyRequests(Problem):
    """Too many requests of this kind, by this person or from this client.

    `Retry-After` says when to try again. How many there may be is a setting; other requests are answered.
    """

    status, kind, title = 429, "too-many-requests", "Too many requests"
    example = "There may be 60 registrations in an hour. Try again in 1800 seconds."

    def __init__(self, what: str, most: int, window: timedelta, retry_after: int) -> None:
        unit = "an hour" if window >= timedelta(hours=1) else "a minute"
        super().__init__(
            f"There may be {most} {what} in {unit}. Try again in {retry_after} seconds.",
            headers={"Retry-After": str(retry_after)},
        )


class HeadersTooLarge(Problem):
    """The headers are longer than the service reads: 32 KiB, all together."""

    status, kind, title = 431, "headers-too-large", "The headers are too large"
    example = "All headers together may have 32768 bytes."


class InternalError(Problem):
    """A fault of the service; its log tells more under the request's id (`X-Request-ID`)."""

    status, kind, title = 500, "internal-error", "The service failed"
    example = "The service failed in a way that nobody foresaw. The log has it under this X-Request-ID."


class Unavailable(Problem):
    """The database does not answer, or the service is too busy. Try again after `Retry-After` seconds."""

    status, kind, title = 503, "unavailable", "The service is not available now"
    example = "The database does not answer. Try again soon."

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})
