"""Whether what pending statements create is there already, and what they drop or rename is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.plan import columns, constraints, needed
from lockstep.plan.finding import Kind
from lockstep.plan.pending import name_of, type_sql
from lockstep.postgres import catalog
from lockstep.postgres.syntax import names

if TYPE_CHECKING:
    from lockstep.plan.asking import Asking
    from lockstep.plan.pending import PendingTable
    from lockstep.postgres.syntax import CreatedObject, Node


def create(asking: Asking, created: CreatedObject, fields: Node) -> None:
    """CREATE of a relation, a type or a schema."""
    if created.temporary or not created.name:
        return
    if created.kind in {"type", "domain"}:
        _create_type(asking, created, fields)
    if created.kind == "schema":
        there = catalog.scalar(
            asking.reader.connection,
            "SELECT to_regnamespace(%(name)s) IS NOT NULL",
            name=name_of((created.name,)),
        )
        if there and not created.if_not_exists and not asking.pending.unfollowed:
            asking.add(Kind.EXISTS, created.name, f"there is a schema {created.name} already")
    if created.kind not in {"table", "foreign table", "view", "materialized view", "sequence", "index"}:
        return
    found = asking.pending.find(created.name, created.schema or _first_schema(asking))
    if found is not None:
        if not created.if_not_exists and not fields.get("replace") and not asking.pending.unfollowed:
            asking.add(Kind.EXISTS, found.label, f"there is {_kind(found)} {found.label} already")
        return
    held = {
        one["ColumnDef"]["colname"]: type_sql(one["ColumnDef"]["typeName"])
        for one in fields.get("tableElts", ())
        if "ColumnDef" in one
    }
    why = f"revision {asking.revision} creates {created.name} first"
    asking.pending.implicit.add(created.name)
    asking.pending.create(created.name, created.schema, why, held)


def _first_schema(asking: Asking) -> str | None:
    found: str | None = catalog.scalar(asking.reader.connection, "SELECT current_schema()::text")
    return found


def _kind(found: PendingTable) -> str:
    kinds = {"i": "an index", "I": "an index", "v": "a view", "m": "a materialized view", "S": "a sequence"}
    return kinds.get(found.real.kind, "a table") if found.real else "a relation"


def _create_type(asking: Asking, created: CreatedObject, fields: Node) -> None:
    name = name_of(tuple(part for part in (created.schema, created.name) if part))
    there = catalog.scalar(asking.reader.connection, "SELECT to_regtype(%(name)s) IS NOT NULL", name=name)
    pending = asking.pending.enums
    if created.name in pending:
        there = pending[created.name] is not None
    if there and created.if_not_exists:
        return
    if there and not asking.pending.unfollowed:
        asking.add(Kind.EXISTS, created.name, f"there is a type {created.name} already")
    pending[created.name] = [item["String"].get("sval", "") for item in fields.get("vals", ())]


def alter_enum(asking: Asking, fields: Node) -> None:
    """ALTER TYPE … ADD VALUE, and RENAME VALUE."""
    parts = names(fields["typeName"])
    labels = _labels(asking, parts)
    if labels is None:
        if not asking.pending.unfollowed:
            asking.add(Kind.MISSING, parts[-1], f"there is no type {parts[-1]}")
        return
    new, old = fields.get("newVal", ""), fields.get("oldVal")
    if old is not None and old not in labels:
        asking.add(Kind.MISSING, parts[-1], f"the type {parts[-1]} has no label {old}")
    if new in labels and not fields.get("skipIfNewValExists"):
        asking.add(Kind.EXISTS, parts[-1], f"the type {parts[-1]} has a label {new} already")
    asking.pending.enums[parts[-1]] = [*(label for label in labels if label != old), new]


def _labels(asking: Asking, parts: tuple[str, ...]) -> list[str] | None:
    if parts[-1] in asking.pending.enums:
        return asking.pending.enums[parts[-1]]
    found = catalog.rows(
        asking.reader.connection,
        "SELECT array(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid) FROM pg_type t "
        "WHERE t.oid = to_regtype(%(name)s)",
        name=name_of(parts),
    )
    return list(found[0][0]) if found else None


#: What DROP says, of the relations that are looked up here.
_RELATIONS = {
    "OBJECT_TABLE": "table", "OBJECT_VIEW": "view", "OBJECT_MATVIEW": "materialized view",
    "OBJECT_INDEX": "index", "OBJECT_SEQUENCE": "sequence",
}  # fmt: skip


def drop(asking: Asking, fields: Node) -> None:
    """DROP of relations and types."""
    cascade, missing_ok = fields.get("behavior") == "DROP_CASCADE", bool(fields.get("missing_ok"))
    if fields["removeType"] in {"OBJECT_TYPE", "OBJECT_DOMAIN"}:
        for one in fields["objects"]:
            _drop_type(asking, names(one["TypeName"]["names"]), cascade=cascade, missing_ok=missing_ok)
    kind = _RELATIONS.get(fields["removeType"])
    if kind is None:
        return
    parts = [names(one["List"]["items"]) for one in fields["objects"]]
    found = {part: asking.pending.find(part[-1], part[-2] if len(part) > 1 else None) for part in parts}
    together = [table for table in found.values() if table]
    for part, table in found.items():
        if table is None:
            if not missing_ok and asking.pending.is_missing(part[-1]):
                asking.add(Kind.MISSING, part[-1], f"there is no {kind} {'.'.join(part)}")
            continue
        if kind == "table" and not cascade:
            needed.dropped(asking, table, together)
        if kind == "index":
            needed.index(asking, table)
        asking.pending.drop(table)
        if kind == "table" and table.real:
            for index in needed.indexes_of(asking, table, None):
                if own := asking.pending.find(index, table.schema):
                    asking.pending.drop(own)


def _drop_type(asking: Asking, parts: tuple[str, ...], *, cascade: bool, missing_ok: bool) -> None:
    if _type_is_gone(asking, parts):
        if not missing_ok and not asking.pending.unfollowed:
            asking.add(Kind.MISSING, parts[-1], f"there is no type {'.'.join(parts)}")
    elif not cascade and parts[-1] not in asking.pending.enums:
        needed.types(asking, parts)
    asking.pending.enums[parts[-1]] = None


def _type_is_gone(asking: Asking, parts: tuple[str, ...]) -> bool:
    if parts[-1] in asking.pending.enums:
        return asking.pending.enums[parts[-1]] is None
    found = "SELECT to_regtype(%(name)s) IS NULL"
    return bool(catalog.scalar(asking.reader.connection, found, name=name_of(parts)))


def rename(asking: Asking, fields: Node) -> None:
    """RENAME of a table, a column, a constraint, an index or a type; SET SCHEMA of a table."""
    kind, new = fields.get("renameType", fields.get("objectType")), fields.get("newname", "")
    if kind == "OBJECT_TYPE":
        parts = names(fields["object"]["List"]["items"] if "List" in fields["object"] else fields["object"])
        asking.pending.enums[new], asking.pending.enums[parts[-1]] = _labels(asking, parts), None
        return
    if "relation" not in fields or kind not in {*_RELATIONS, "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT"}:
        return
    table = asking.table(fields["relation"], missing_ok=bool(fields.get("missing_ok")))
    if table is None:
        return
    if kind == "OBJECT_COLUMN":
        columns.rename(asking, table, fields["subname"], new)
    elif kind == "OBJECT_TABCONSTRAINT":
        constraints.rename(asking, table, fields["subname"], new)
    else:
        schema, name = fields.get("newschema", table.schema), new or table.name
        if other := asking.pending.find(name, schema):
            asking.add(Kind.EXISTS, table.label, f"there is {_kind(other)} {other.label} already")
        asking.pending.rename(table, name, schema)


def has_relation(tree: Any) -> list[Node]:
    """The relations that a statement names, at any depth."""
    found = []
    if isinstance(tree, list):
        for item in tree:
            found += has_relation(item)
    elif isinstance(tree, dict):
        if "relname" in tree:
            found.append(tree)
        for value in tree.values():
            found += has_relation(value)
    return found
