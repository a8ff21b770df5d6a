"""The application for fuzzers and hostile clients: as shipped, but for a password hash that takes no time."""

from __future__ import annotations

from api import CHEAP
from folkmoot.commands.serve import worker
from watched import Watched


def create() -> Watched:
    return Watched(worker(CHEAP))
