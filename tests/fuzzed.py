"""The application for the fuzzer: as shipped, but for a password hash that takes no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.app import create_app
from tests.api import CHEAP

if TYPE_CHECKING:
    from fastapi import FastAPI


def create() -> FastAPI:
    return create_app(hasher=CHEAP)
