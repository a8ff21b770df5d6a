"""Who is asking for a page: the session cookie, read into the same Bearer or Anonymous as the API's token."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Response

from folkmoot.http.problems import LoginRequired, TokenRefused
from folkmoot.people import limits
from folkmoot.people.caller import Anonymous, Bearer, Renewal
from folkmoot.people.tokens import PAGES, Claims, Tokens
from folkmoot.postgres import reading

if TYPE_CHECKING:
    from folkmoot.settings import Settings

_SESSION = "folkmoot_session"
#: Where a request keeps what its cookie says, which is asked for again and again.
_CLAIMS = "folkmoot.claims"


def tokens(settings: Settings, secret: str, *older: str) -> Tokens:
    """What cookies hold: good for as long as a session may live; its row decides on each request."""
    return Tokens(secret, timedelta(days=settings.session_expire_days), *older, purpose=PAGES)


def secure(request: Request) -> bool:
    """Whether the request came over TLS, which a trusted proxy may have ended."""
    return bool(request.scope["scheme"] == "https")


def cookie_name(request: Request, name: str) -> str:
    """A cookie's name: under TLS with the prefix that no other host, and no page without TLS, can set."""
    return f"__Host-{name}" if secure(request) else name


def set_cookie(request: Request, answer: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie that scripts and other sites' forms never have; without seconds until the browser ends."""
    answer.set_cookie(
        cookie_name(request, name), value, max_age=seconds, path="/", secure=secure(request),
        httponly=True, samesite="lax",
    )  # fmt: skip


def drop_cookie(request: Request, answer: Response, name: str) -> None:
    set_cookie(request, answer, name, "", 0)


def claims(request: Request) -> Claims | None:
    """Whose session the cookie names; only the signature was checked."""
    if _CLAIMS not in request.scope:
        request.scope[_CLAIMS] = _read(request)
    whose: Claims | None = request.scope[_CLAIMS]
    return whose


def _read(request: Request) -> Claims | None:
    cookie = request.cookies.get(cookie_name(request, _SESSION))
    if not cookie:
        return None
    reading: Tokens = request.app.state.page_tokens
    try:
        return reading.read(cookie)
    except TokenRefused:
        return None


def ended(request: Request) -> None:
    """From now on the request is of somebody who is not logged in."""
    request.scope[_CLAIMS] = None


def remember(request: Request, answer: Response, user_id: int, session_id: int) -> None:
    """Give a browser the cookie of a session."""
    writing: Tokens = request.app.state.page_tokens
    set_cookie(request, answer, _SESSION, writing.write(user_id, session_id), writing.seconds)


def forget(request: Request, answer: Response) -> None:
    """Take the cookie of the session away."""
    drop_cookie(request, answer, _SESSION)


def _bearer(request: Request, whose: Claims) -> Bearer:
    settings: Settings = request.app.state.settings
    idle, most = settings.refresh_token_expire_days, settings.session_expire_days
    renewal = Renewal(timedelta(days=idle), timedelta(days=most))
    reading.about(request, whose.user_id)
    return Bearer(request.app.state.pool, whose, renewal, reading.of(request))


async def _reader(request: Request) -> Bearer | Anonymous:
    whose = claims(request)
    if whose is None:
        if not request.app.state.settings.public_read:
            raise LoginRequired
        return Anonymous(request.app.state.pool, reading.of(request))
    return _bearer(request, whose)


async def _member(request: Request) -> Bearer:
    whose = claims(request)
    if whose is None:
        raise LoginRequired
    if request.method == "POST":
        await limits.count(request, request.app.state.pool, limits.WRITES, user_id=whose.user_id)
    return _bearer(request, whose)


#: What a page asks for, as a route of the API does (see `people.caller`). Somebody who is logged in; what
#: they change is counted:
Member = Annotated[Bearer, Depends(_member)]
#: Whoever may read:
Reader = Annotated[Bearer | Anonymous, Depends(_reader)]


def user_id(request: Request) -> int | None:
    """Whom the cookie names, to show what is theirs otherwise: never to decide what they may do."""
    whose = claims(request)
    return None if whose is None else whose.user_id
