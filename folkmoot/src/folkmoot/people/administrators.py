"""Administrators: who they are, and what they do as such."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from folkmoot.http.problems import Forbidden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from folkmoot.people.caller import Bearer, Caller

_IS = "SELECT administrator FROM users WHERE id = $1::bigint"


@asynccontextmanager
async def acting(bearer: Bearer) -> AsyncIterator[Caller]:
    """A transaction of somebody who is an administrator; raises Forbidden, and TokenRefused."""
    async with bearer.transaction() as caller:
        if not await is_one(caller):
            raise Forbidden("Only administrators do this.")
        yield caller


async def is_one(caller: Caller) -> bool:
    """Whether somebody is an administrator."""
    return bool(await caller.connection.fetchval(_IS, caller.user_id))
