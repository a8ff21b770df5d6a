"""Statements that differ in their values alone: what a revision's Python makes of a time or a random id."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockstep.postgres.statements import Classified

_PLACES = {"location", "stmt_location", "stmt_len", "list_start", "list_end"}

#: In a block of which nobody knows what it does, since it is built at run time.
_LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d[\d.]*\b")


def shape_of(classified: Classified) -> str | None:
    """A hash of a text without its values; None for one that may be run twice, or that cannot be parsed."""
    if classified.error is not None or (classified.leaves_nothing and not classified.functions):
        return None
    bare = [
        [one.node[0], _without_values(one.fields)] if one.node[0] else _LITERAL.sub("?", one.text)
        for one in classified.statements
    ]
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]


def _without_values(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: "?" if name == "A_Const" else _without_values(value)
            for name, value in node.items()
            if name not in _PLACES
        }
    return [_without_values(one) for one in node] if isinstance(node, list) else node
