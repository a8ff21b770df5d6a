"""The application, put together from its parts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from folkmoot import database, health
from folkmoot.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; without settings, those of the environment.

    Raises SettingsError where a setting is wrong or missing.
    """
    settings = settings or load()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with database.server(settings):
            async with await database.open_pool(settings) as pool:
                app.state.pool = pool
                yield

    app = FastAPI(title="Folkmoot", lifespan=lifespan)
    app.state.settings = settings
    app.router.route_class = database.Route
    app.include_router(health.router)
    return app
