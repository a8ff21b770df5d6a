"""The application for the fuzzer: as shipped, but for a password hash that takes no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import CHEAP
from folkmoot.app import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI


def create() -> FastAPI:
    return create_app(hasher=CHEAP)
