"""Reading PostgreSQL's parse trees in libpg_query's JSON; nodes have the names of ``parsenodes.h``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Node = dict[str, Any]


@dataclass(frozen=True)
class CreatedObject:
    """Something that a statement creates: its kind in PostgreSQL's words, and its name as it is written."""

    kind: str
    schema: str | None
    name: str
    if_not_exists: bool = False
    temporary: bool = False


def nodes(tree: Any, *wanted: str) -> Iterator[Node]:
    """The fields of every node of these names, at any depth."""
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item, *wanted)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name in wanted and isinstance(value, dict):
                yield value
            yield from nodes(value, *wanted)


def names(parts: list[Node]) -> tuple[str, ...]:
    """A qualified name, given as a list of strings."""
    return tuple(part["String"]["sval"] for part in parts if "String" in part)


def function_names(tree: Any) -> Iterator[tuple[str, ...]]:
    """The functions that are called, each name as its parts."""
    for call in nodes(tree, "FuncCall"):
        yield names(call["funcname"])


#: Statements that write rows of their ``relation``.
WRITERS = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


def writes_rows(tree: Any) -> bool:
    """Whether something below (a WITH query) inserts, updates, deletes or merges."""
    return any(True for _ in nodes(tree, *WRITERS))


def on_commit(fields: Node) -> str:
    """What ends with the transaction: a temporary table (``ONCOMMIT_DROP``), its rows; empty: nothing."""
    into = fields.get("into") or fields.get("intoClause") or {}
    said = fields.get("oncommit") or into.get("onCommit")
    return str(said) if said in {"ONCOMMIT_DROP", "ONCOMMIT_DELETE_ROWS"} else ""


#: Statements that create something, with what it is and which field has its name.
_NAMED_BY = {
    "CreateFunctionStmt": ("function", "funcname"),
    "CreateEnumStmt": ("type", "typeName"),
    "CreateRangeStmt": ("type", "typeName"),
    "CreateDomainStmt": ("domain", "domainname"),
    "DefineStmt": ("", "defnames"),
    "CreateExtensionStmt": ("extension", "extname"),
    "CreateSchemaStmt": ("schema", "schemaname"),
    "CreateTrigStmt": ("trigger", "trigname"),
    "CreatePolicyStmt": ("policy", "policy_name"),
    "CreateStatsStmt": ("statistics", "defnames"),
    "CreatePublicationStmt": ("publication", "pubname"),
    "RuleStmt": ("rule", "rulename"),
    "CreateEventTrigStmt": ("event trigger", "trigname"),
    "CreateRoleStmt": ("role", "role"),
}

#: Statements that create a relation, with the field that has its name.
_RELATIONS = {
    "CreateStmt": ("table", "relation"),
    "CreateForeignTableStmt": ("foreign table", "base"),
    "CreateSeqStmt": ("sequence", "sequence"),
    "ViewStmt": ("view", "view"),
    "CompositeTypeStmt": ("type", "typevar"),
}


def created_objects(name: str, fields: Node) -> tuple[CreatedObject, ...]:
    """What a statement creates. CREATE OR REPLACE counts: what was replaced cannot be given back."""
    given = bool(fields.get("if_not_exists"))
    if name in _RELATIONS:
        kind, field = _RELATIONS[name]
        holder = fields[field]
        return (_relation(kind, holder.get("relation", holder), if_not_exists=given),)
    if name == "CreateTableAsStmt":
        kind = "materialized view" if fields["objtype"] == "OBJECT_MATVIEW" else "table"
        return (_relation(kind, fields["into"]["rel"], if_not_exists=given),)
    if name == "SelectStmt" and "intoClause" in fields:
        return (_relation("table", fields["intoClause"]["rel"], if_not_exists=False),)
    if name == "IndexStmt":
        table = fields["relation"]
        named = fields.get("idxname", "")
        return (CreatedObject("index", table.get("schemaname"), named, given),)
    if name not in _NAMED_BY:
        return ()
    kind, field = _NAMED_BY[name]
    value = fields.get(field, "")
    parts = names(value) if isinstance(value, list) else (value,)
    if name == "DefineStmt":
        kind = fields["kind"].removeprefix("OBJECT_").lower()
    if not parts:
        return ()
    return (CreatedObject(kind, parts[-2] if len(parts) > 1 else None, parts[-1], given),)


def _relation(kind: str, relation: Node, *, if_not_exists: bool) -> CreatedObject:
    schema = relation.get("schemaname")
    temporary = relation.get("relpersistence") == "t" or schema == "pg_temp"
    return CreatedObject(kind, schema, relation["relname"], if_not_exists, temporary)
