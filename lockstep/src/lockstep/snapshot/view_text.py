"""A view's definition as PostgreSQL 16 and later print it, from one that PostgreSQL 15 printed.

The older one names the table before each column; the newer does so only where there is more than one table to
choose from, or a query around this one (``get_query_def`` in ruleutils.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.postgres.parser import ParseError, parse

if TYPE_CHECKING:
    from collections.abc import Iterator


def without_prefixes(definition: str) -> str:
    """The definition without what the newer versions leave out."""
    try:
        (statement,) = parse(definition)
    except (ParseError, ValueError):
        return definition
    query = statement["stmt"].get("SelectStmt", {})
    source = query.get("fromClause", [])
    if query.get("op", "SETOP_NONE") != "SETOP_NONE" or len(source) != 1 or "JoinExpr" in source[0]:
        return definition
    inner = {key: value for key, value in query.items() if key not in {"fromClause", "withClause"}}
    text = definition.encode()
    for place in sorted(_qualified_columns(inner), reverse=True):
        end = _after_dot(text, place)
        text = text[:place] + text[end:]
    return text.decode()


def _qualified_columns(node: Any) -> Iterator[int]:
    """Where the columns with one table's name before them stand, except for those of queries within."""
    if isinstance(node, list):
        for each in node:
            yield from _qualified_columns(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ColumnRef":
                if len(value["fields"]) == 2:
                    yield value.get("location", 0)
            elif key != "SelectStmt":
                yield from _qualified_columns(value)


def _after_dot(text: bytes, place: int) -> int:
    """Where the name that begins here, and the dot after it, end."""
    if text[place : place + 1] != b'"':
        return text.index(b".", place) + 1
    place += 1
    while text[place : place + 1] != b'"' or text[place + 1 : place + 2] == b'"':
        place += 2 if text[place : place + 1] == b'"' else 1
    return place + 2
