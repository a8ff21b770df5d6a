"""The application, put together from its parts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from folkmoot.http import docs, errors, health, logs
from folkmoot.http import openapi as contract
from folkmoot.http.answering import on_validation
from folkmoot.http.cursors import Cursors
from folkmoot.http.metrics import Metrics
from folkmoot.http.middleware import Edge, Envelope
from folkmoot.http.proxies import Forwarded
from folkmoot.mail import delivery
from folkmoot.moderation import blocks, log, removals, reports
from folkmoot.pages import (
    account,
    assets,
    discussion,
    entry,
    feeds,
    front,
    letters,
    moderation,
    person,
    post,
    schema,
    visitor,
    write,
)
from folkmoot.pages.errors import on_problem
from folkmoot.pages.schema_sight import Sights
from folkmoot.people import (
    accounts,
    caller,
    export,
    login,
    my_account,
    password_resets,
    sessions,
    verification,
)
from folkmoot.people.passwords import Passwords
from folkmoot.people.tokens import Tokens
from folkmoot.postgres import database, pool
from folkmoot.postgres.replicas import Replicas
from folkmoot.posts import comments, lists, posts, votes
from folkmoot.posts.search import Search
from folkmoot.settings import Settings, load, verifying_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from argon2 import PasswordHasher

_DESCRIPTION = """\
People register, write posts, discuss them and vote.

Log in with `POST /login` and send the access token as `Authorization: Bearer …`. Errors are problem details
(RFC 9457); the `type` of each can be read at `/errors/{kind}`. A path answers with and without a trailing
slash. Every answer carries an `X-Request-ID`, which the log has too.
"""


def create_app(settings: Settings | None = None, hasher: PasswordHasher | None = None) -> FastAPI:
    """The ASGI application; without settings, those of the environment; `hasher` is for tests in a hurry.

    Raises SettingsError where a setting is wrong or missing.
    """
    settings = settings or load()
    logs.configure(settings.log_level)
    metrics = Metrics() if settings.metrics_port else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with database.server(settings):
            async with AsyncExitStack() as stack:
                app.state.pool = await stack.enter_async_context(await pool.open_pool(settings))
                if settings.database_read_url is not None:
                    replicas = Replicas(settings, app.state.pool)
                    app.state.replicas = await stack.enter_async_context(replicas.running())
                app.state.search = Search(app.state.pool)
                app.state.export_turn = asyncio.Lock()
                app.state.delivery = sends = delivery.made(app.state.pool, settings)
                app.state.passwords = passwords = Passwords(hasher)
                try:
                    app.openapi()  # made once, before anybody waits for it
                    async with (
                        sends.running() if sends else nullcontext(),
                        metrics.watching(app.state.pool) if metrics else nullcontext(),
                    ):
                        yield
                finally:
                    passwords.close()

    app = FastAPI(
        title="Folkmoot",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        exception_handlers={RequestValidationError: on_validation, HTTPException: on_problem},
    )
    secret, *older = verifying_keys(settings)
    app.state.settings = settings
    app.state.replicas = None
    app.state.sights = Sights(settings)
    app.state.tokens = Tokens(secret, timedelta(minutes=settings.access_token_expire_minutes), *older)
    app.state.page_tokens = visitor.tokens(settings, secret, *older)
    app.state.form_key = secret
    app.state.cursors = Cursors(secret, *older)
    for router in (
        lists.router,
        posts.router,
        comments.router,
        votes.router,
        my_account.router,
        accounts.router,
        password_resets.router,
        verification.router,
        export.router,
        sessions.router,
        login.router,
        removals.router,
        blocks.router,
        reports.router,
        log.router,
        health.router,
        errors.router,
        docs.router,
        front.router,
        post.router,
        discussion.router,
        write.router,
        person.router,
        account.router,
        entry.router,
        feeds.router,
        schema.router,
        letters.router,
        moderation.router,
        assets.router,
    ):
        # The routes themselves: an included router would be matched twice on every request.
        app.router.routes.extend(router.routes)
    # The last one added is the outermost.
    app.add_middleware(Edge, routes=app.router.routes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.strip() for origin in settings.cors_origins.split(",")],
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
        )
    if settings.trusted_proxies:
        app.add_middleware(Forwarded, trusted=settings.trusted_proxies)
    if settings.otel_exporter_otlp_endpoint:
        from folkmoot.http.traces import Traced  # noqa: PLC0415 - an extra

        app.add_middleware(Traced, endpoint=settings.otel_exporter_otlp_endpoint)
    app.add_middleware(Envelope, metrics=metrics)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = contract.openapi(app, caller.OPTIONAL_LOGINS)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app
