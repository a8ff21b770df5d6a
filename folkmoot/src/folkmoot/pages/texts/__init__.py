"""Every word that a page shows, by key: one file for each language."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGE = "en"


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(files(__name__).joinpath(f"{LANGUAGE}.toml").read_text("utf-8"))


@cache
def _found(key: str) -> Any:
    found: Any = _texts()
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def has(key: str) -> bool:
    return _found(key) is not None


def text(key: str, **values: Any) -> str:
    """The text of a key such as `front.title`, with values for its {names}; raises KeyError without one.

    A text that depends on a number is a table with `one` and `other`, chosen by the value `n`.
    """
    found = _found(key)
    if isinstance(found, dict) and "n" in values:
        found = found["one" if values["n"] == 1 else "other"]
    if not isinstance(found, str):
        raise KeyError(key)
    return found.format(**values) if values else found
