"""One statement of SQL as it was sent: its text with its values, and whether it can run in a transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from psycopg import Error, sql

from lockstep.postgres.parser import ParseError, parse
from lockstep.postgres.statements import without_placeholders
from lockstep.postgres.syntax import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockstep.postgres.syntax import Node

_PYFORMAT = re.compile(r"%\((\w+)\)s|%s|%%")
_NUMBERED = re.compile(r"\$(\d+)")


def written(statement: str, parameters: Any, paramstyle: str) -> str:
    """A driver's statement as PostgreSQL reads it, its values written in; of several, the first."""
    if isinstance(parameters, list):
        parameters = parameters[0] if parameters else ()
    if not parameters:
        return statement.strip()
    if paramstyle.startswith("numeric"):
        return _NUMBERED.sub(lambda found: _literal(parameters[int(found[1]) - 1]), statement).strip()
    values = iter(parameters) if not isinstance(parameters, Mapping) else iter(())

    def value(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        return _literal(parameters[found[1]] if found[1] else next(values))

    return _PYFORMAT.sub(value, statement).strip()


def _literal(value: Any) -> str:
    try:
        return sql.Literal(value).as_string(None)
    except (Error, TypeError):  # a type that only the driver of the project knows
        return sql.Literal(str(value)).as_string(None)


@lru_cache(maxsize=256)
def trees(statement: str) -> tuple[tuple[str, Node], ...]:
    """The statements of a text: the name and the fields of each one's node; none where it can't be read."""
    for text in (statement, without_placeholders(statement)):
        try:
            return tuple(next(iter(one["stmt"].items())) for one in parse(text))
        except ParseError:
            continue
    return ()


#: Statements that PostgreSQL refuses inside of a transaction, or that may end one.
_ALONE = {
    "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt", "AlterSystemStmt",
    "TransactionStmt", "CallStmt", "DoStmt", "AlterDatabaseStmt", "CreateSubscriptionStmt",
    "DropSubscriptionStmt", "DiscardStmt",
}  # fmt: skip


def may_be_in_transaction(statement: str) -> bool:
    """Whether a statement that is sent in autocommit mode may as well run in a transaction of its own."""
    found = trees(statement)
    return len(found) == 1 and not any(name in _ALONE or is_concurrent(name, f) for name, f in found)


def is_concurrent(name: str, fields: Node) -> bool:
    """Whether it runs in several transactions, so that its locks can't be looked at when it is done."""
    options = {one["defname"] for one in nodes([fields.get("params"), fields.get("options")], "DefElem")}
    detached = any(one.get("concurrent") for one in nodes(fields.get("cmds"), "PartitionCmd"))
    return bool(
        fields.get("concurrent")
        or (name == "VacuumStmt" and fields.get("is_vacuumcmd"))
        or (name == "ReindexStmt" and ("concurrently" in options or fields["kind"] != "REINDEX_OBJECT_TABLE"))
        or (name == "ClusterStmt" and "relation" not in fields)
        or detached
    )


def relations_of(fields: Node) -> list[tuple[str | None, str]]:
    """The relations that a statement names, as (schema, name)."""
    found = list(_range_variables(fields))
    for one in nodes(fields, "DropStmt"):
        found += _named(one)
    return found + (_named(fields) if "removeType" in fields else [])


def _range_variables(tree: Any) -> Iterator[tuple[str | None, str]]:
    if isinstance(tree, list):
        for item in tree:
            yield from _range_variables(item)
    elif isinstance(tree, dict):
        if isinstance(tree.get("relname"), str):
            yield tree.get("schemaname"), tree["relname"]
        for value in tree.values():
            yield from _range_variables(value)


def _named(drop: Node) -> list[tuple[str | None, str]]:
    found: list[tuple[str | None, str]] = []
    for one in nodes(drop.get("objects"), "List"):
        parts = [part["String"]["sval"] for part in one["items"] if "String" in part]
        if parts:
            found.append((parts[-2] if len(parts) > 1 else None, parts[-1]))
    return found


#: What a statement does to rows, by the name of its node.
WRITES_ROWS = frozenset({"UpdateStmt", "DeleteStmt", "MergeStmt"})
LOSES_ROWS = frozenset({"DeleteStmt", "TruncateStmt"})
