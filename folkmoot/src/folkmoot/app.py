"""The application, put together from its parts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from granian.utils.proxies import wrap_asgi_with_proxy_headers
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from folkmoot import accounts, contract, database, feeds, health, login, logs, posts, sessions, votes
from folkmoot.contract import Cursors, answers
from folkmoot.edge import Edge
from folkmoot.errors import KINDS, TYPE_PATH, NotFound, on_http_exception, on_validation
from folkmoot.passwords import Passwords
from folkmoot.sessions import Tokens
from folkmoot.settings import Settings, load, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from argon2 import PasswordHasher

_DESCRIPTION = """\
People register, write posts and vote.

Log in with `POST /login` and send the access token as `Authorization: Bearer …`. Errors are problem details
(RFC 9457); the `type` of each can be read at `/errors/{kind}`. A path answers with and without a trailing
slash. Every answer carries an `X-Request-ID`, which the log has too.
"""


class Kind(BaseModel):
    """A kind of problem, explained."""

    type: str
    title: str
    status: int
    explanation: str


errors_router = APIRouter(tags=["errors"])


@errors_router.get(TYPE_PATH + "{kind}", response_model=Kind, responses=answers(NotFound))
async def explain(kind: str) -> Any:
    """Explain a kind of problem: what the `type` of an error points to."""
    found = KINDS.get(kind)
    if found is None:
        raise NotFound("There is no such kind of problem.")
    return Kind(
        type=TYPE_PATH + kind, title=found.title, status=found.status, explanation=found.explanation()
    )


def create_app(settings: Settings | None = None, hasher: PasswordHasher | None = None) -> FastAPI:
    """The ASGI application; without settings, those of the environment; `hasher` is for tests in a hurry.

    Raises SettingsError where a setting is wrong or missing.
    """
    settings = settings or load()
    logs.configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with database.server(settings):
            async with await database.open_pool(settings) as pool:
                app.state.pool = pool
                app.state.passwords = passwords = Passwords(hasher)
                yield
                passwords.close()

    app = FastAPI(
        title="Folkmoot",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers={RequestValidationError: on_validation, HTTPException: on_http_exception},
    )
    secret = signing_key(settings)
    app.state.settings = settings
    app.state.tokens = Tokens(secret, timedelta(minutes=settings.access_token_expire_minutes))
    app.state.cursors = Cursors(secret)
    for router in (
        feeds.router,
        posts.router,
        votes.router,
        accounts.router,
        login.router,
        sessions.router,
        health.router,
        errors_router,
    ):
        # The routes themselves: an included router would be matched twice on every request.
        app.router.routes.extend(router.routes)
    app.add_middleware(Edge, routes=app.router.routes)
    if settings.trusted_proxies:
        proxies = [proxy.strip() for proxy in settings.trusted_proxies.split(",")]
        app.add_middleware(wrap_asgi_with_proxy_headers, trusted_hosts=proxies)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
        )

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = contract.openapi(
                app, optional_logins=(sessions.reader, sessions.reading_claimant)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
