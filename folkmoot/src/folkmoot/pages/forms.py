"""How a form is read: here and nowhere else. Its origin and its token are checked before its fields.

The token (CSRF) is an HMAC of the session, or before a login of a cookie that is there for nothing else. It
is masked anew for each page, so that what is compressed with it tells nothing of it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from folkmoot.http.problems import Forbidden, Invalid, MalformedRequest, Problem, UnsupportedMediaType
from folkmoot.http.routes import media_type, utf8
from folkmoot.pages import visitor
from folkmoot.pages.texts import has, text
from folkmoot.people.token_form import FORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

Model = TypeVar("Model", bound=BaseModel)

#: The field that has the token.
TOKEN = "csrf"  # noqa: S105 - the name of a field
#: The most fields of a form.
_FIELDS = 50
_VISITOR = "folkmoot_visitor"
_FRESH, _MADE = "folkmoot.visitor", "folkmoot.csrf"
_BYTES = 16


class FormRefused(Forbidden):
    """A form does not come from a page that was opened in this browser, by this person.

    Its token is missing or of another session, or the page that sent it is another site's.
    """

    kind, title = "form-refused", "The form is not accepted"
    example = "The page that this form was on is out of date. Open it again, and send the form from there."


@dataclass
class Form:
    """The fields of a form that was sent from one of our own pages, and what is wrong with them."""

    fields: Mapping[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    #: What is wrong with the form as a whole.
    problem: Problem | None = None

    def __getitem__(self, name: str) -> str:
        """What was typed; empty where there is no such field."""
        return self.fields.get(name, "")

    def checked(self, model: type[Model], **values: Any) -> Model:
        """The values as a body of the API would have them; raises NotAcceptable, which `errors` explains."""
        try:
            return model(**values)
        except ValidationError as error:
            for each in error.errors():
                self.errors.setdefault(str(each["loc"][0]), _said(each))
            raise NotAcceptable from None

    def refuse(self, problem: Problem, at: str | None = None) -> None:
        """Have the form shown again with what a function of the API has said about it, `at` a field of it."""
        self.problem = problem
        if isinstance(problem, Invalid):
            members = problem.members.get("errors", ())
            self.errors |= {
                each["pointer"].removeprefix("#/"): each["detail"] for each in members if "pointer" in each
            }
        elif at is not None:
            key = f"wrong.{at}.{problem.kind}"
            self.errors[at] = text(key) if has(key) else str(problem.detail)

    @property
    def status(self) -> int:
        """The status of the page that shows it."""
        if self.problem:
            return self.problem.status
        return 422 if self.errors else 200


class NotAcceptable(Exception):  # noqa: N818 - it is caught beside problems
    """A field of a form is not acceptable; the form says which."""


def _said(error: Any) -> str:
    kind, name = error["type"], error["loc"][0]
    for key in (f"wrong.{name}.{kind}", f"wrong.{kind}"):
        if has(key):
            return text(key, **error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")


def token(request: Request) -> str:
    """The token for the forms of the page that answers this request."""
    made: str | None = request.scope.get(_MADE)
    if made is None:
        mask = secrets.token_bytes(_BYTES)
        made = urlsafe_b64encode(mask + _masked(mask, _expected(request, make=True))).decode().rstrip("=")
        request.scope[_MADE] = made
    return made


def has_token(request: Request) -> bool:
    """Whether the page has a token, so that it is for one person alone."""
    return _MADE in request.scope


def keep_visitor(request: Request, answer: Response) -> None:
    """Set the cookie that the token of somebody who is not logged in belongs to, if it is a new one."""
    if _FRESH in request.scope:
        visitor.set_cookie(request, answer, _VISITOR, request.scope[_FRESH])


def _masked(mask: bytes, value: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(mask, value, strict=True))


def _expected(request: Request, *, make: bool = False) -> bytes:
    whose = visitor.claims(request)
    if whose is not None:
        return _digest(request, f"session {whose.session_id}")
    cookie = request.cookies.get(visitor.cookie_name(request, _VISITOR), "")
    if not cookie and make:
        cookie = request.scope.setdefault(_FRESH, secrets.token_urlsafe(_BYTES))
    return _digest(request, f"visitor {cookie}") if cookie else b""


def _digest(request: Request, what: str) -> bytes:
    key: str = request.app.state.form_key
    return hmac.digest(key.encode(), f"form of {what}".encode("utf-8", "replace"), hashlib.sha256)[:_BYTES]


def _authentic(request: Request, given: str) -> bool:
    try:
        sent = urlsafe_b64decode(given + "=" * (-len(given) % 4))
    except (Base64Error, ValueError):
        return False
    expected = _expected(request)
    if len(sent) != 2 * _BYTES or not expected:
        return False
    return hmac.compare_digest(_masked(sent[:_BYTES], sent[_BYTES:]), expected)


def _own_origin(request: Request) -> bool:
    """Whether the browser says that the form is on a page of this origin; an old one may say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    # The host alone: which scheme a proxy was asked with is not known unless it is trusted.
    return origin is None or of_our_host(request, origin)


def of_our_host(request: Request, address: str) -> bool:
    """Whether an address has the host that was asked."""
    try:
        host = urlsplit(address).netloc.lower()
    except ValueError:
        return False
    return bool(host) and host == request.headers.get("host", "").lower()


async def read(request: Request) -> Form:
    """Read the form that a request brings, whose body is there already.

    Raises FormRefused, UnsupportedMediaType and MalformedRequest.
    """
    if not _own_origin(request):
        raise FormRefused(text("form.other_origin"))
    if media_type(request) != FORM or not utf8(request):
        raise UnsupportedMediaType(f"Send the fields as a form in UTF-8 with Content-Type: {FORM}.")
    try:
        sent = parse_qs(
            (await request.body()).decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS
        )
    except UnicodeDecodeError:
        raise MalformedRequest("The form is not UTF-8.") from None
    except ValueError:
        raise MalformedRequest(f"The form has more than {_FIELDS} fields.") from None
    tokens = sent.pop(TOKEN, [])
    if len(tokens) != 1 or not _authentic(request, tokens[0]):
        raise FormRefused
    if repeated := [name for name, values in sent.items() if len(values) > 1]:
        raise MalformedRequest(f"The form has a field more than once: {len(repeated)}.")
    # Browsers send the ends of lines as CR LF; a text has LF, and as many characters as were typed.
    return Form({name: values[0].replace("\r\n", "\n") for name, values in sent.items()})


def _sent(request: Request) -> Form:
    form: Form = request.state.form
    return form


#: The form of a POST, which `routes.PageRoute` has read.
Sent = Annotated[Form, Depends(_sent)]
