"""What pending statements do to the columns of a table, and which rows stand in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.plan import constraints, needed
from lockstep.plan.asking import number
from lockstep.plan.finding import Kind
from lockstep.plan.pending import columns_of, expression, type_sql
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.syntax import names

if TYPE_CHECKING:
    from lockstep.plan.asking import Asking
    from lockstep.plan.pending import PendingTable
    from lockstep.postgres.syntax import Node


def add(asking: Asking, table: PendingTable, command: Node) -> None:
    """ADD COLUMN, with the constraints that stand in its definition."""
    definition = command["def"]["ColumnDef"]
    name = definition["colname"]
    if name in table.types:
        if not command.get("missing_ok") and not table.in_doubt:
            asking.add(Kind.EXISTS, table.label, f"{table.label} has a column {name} already")
        return
    given = {one["Constraint"]["contype"]: one["Constraint"] for one in definition.get("constraints", ())}
    default = given.get("CONSTR_DEFAULT", {}).get("raw_expr")
    typed = type_sql(definition["typeName"])
    asking.pending.implicit.add(table.name)
    serial = names(definition["typeName"]["names"])[-1] in {"serial", "bigserial", "smallserial"}
    table.types[name] = typed
    made = {"CONSTR_GENERATED", "CONSTR_IDENTITY"} & given.keys()
    if serial or made or not asking.pending.can_be_followed(default):
        table.unknown[name] = f"revision {asking.revision} adds {name} first"
        table.not_null.add(name)
    else:
        value = expression(default) if default else "NULL"
        table.compute({name: f"CAST({value} AS {typed})"})
        if not _is_there(asking, typed):
            table.unknown[name] = f"revision {asking.revision} adds {name} first"
        if default:
            table.not_null.add(name)
    wants_value = {"CONSTR_NOTNULL", "CONSTR_PRIMARY"} & given.keys()
    if wants_value and name not in table.not_null:
        _refuse_without_default(asking, table, name)
    for one in given.values():
        own = {**one, "keys": [{"String": {"sval": name}}], "fk_attrs": [{"String": {"sval": name}}]}
        if one["contype"] in {"CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_FOREIGN", "CONSTR_CHECK"}:
            constraints.add(asking, table, own)


def _is_there(asking: Asking, typed: str) -> bool:
    """Whether a type is there now, as it will be."""
    if typed.strip('"') in asking.pending.enums:
        return False
    found = "SELECT to_regtype(%(name)s) IS NOT NULL"
    return bool(catalog.scalar(asking.reader.connection, found, name=typed))


def _refuse_without_default(asking: Asking, table: PendingTable, name: str) -> None:
    what = f"{table.label} has rows, for which {name} has no value"
    if not asking.may_ask(table, [], what):
        return
    with asking.about(table, what):
        rows = asking.reader.where(table, "true", [])
        asking.add(
            Kind.NO_DEFAULT,
            table.label,
            f"{table.label} has {number(rows)}, for which the new column {name} has no value: it is NOT NULL "
            "and has no default",
            rows,
        )
    table.not_null.add(name)


def drop(asking: Asking, table: PendingTable, command: Node) -> None:
    """DROP COLUMN."""
    name = command["name"]
    if not _has(asking, table, name, missing_ok=bool(command.get("missing_ok"))):
        return
    if command.get("behavior") != "DROP_CASCADE":
        needed.column(asking, table, name, f"cannot drop {table.label}.{name}")
    for dropped in needed.constraints_of(asking, table, name):
        constraints.drop(asking, table, dropped, missing_ok=True)
    for index in needed.indexes_of(asking, table, name):
        if found := asking.pending.find(index, table.schema):
            asking.pending.drop(found)
    table.drop_column(name)


def rename(asking: Asking, table: PendingTable, old: str, new: str) -> None:
    """RENAME COLUMN."""
    if not _has(asking, table, old):
        return
    if new in table.types:
        asking.add(Kind.EXISTS, table.label, f"{table.label} has a column {new} already")
        return
    table.rename_column(old, new)


def set_not_null(asking: Asking, table: PendingTable, command: Node) -> None:
    """SET NOT NULL."""
    if _has(asking, table, command["name"]):
        constraints.not_null(asking, table, command["name"])


def has(asking: Asking, table: PendingTable, command: Node) -> None:
    """What only needs the column to be there: defaults, statistics, storage, DROP NOT NULL."""
    if _has(asking, table, command["name"]) and command["subtype"] == "AT_DropNotNull":
        table.not_null.discard(command["name"])


def _has(asking: Asking, table: PendingTable, name: str, *, missing_ok: bool = False) -> bool:
    if name in table.types:
        return True
    if not missing_ok and table.types and not asking.pending.unfollowed and not table.in_doubt:
        asking.add(Kind.MISSING, table.label, f"{table.label} has no column {name}")
    return False


def change_type(asking: Asking, table: PendingTable, command: Node) -> None:
    """ALTER COLUMN TYPE: what cannot be converted; then what indexes and checks say to the new values."""
    name, definition = command["name"], command["def"]["ColumnDef"]
    if not _has(asking, table, name):
        return
    needed.views(asking, table, name, f"cannot change the type of {table.label}.{name}")
    using = definition.get("raw_default") or {"ColumnRef": {"fields": [{"String": {"sval": name}}]}}
    typed = type_sql(definition["typeName"])
    what = f"each {name} of {table.label} can be made {typed}"
    columns = list(dict.fromkeys([name, *columns_of(using, table)]))
    found = len(asking.found)
    if asking.may_ask(table, columns, what):
        with asking.about(table, what):
            if not asking.pending.can_be_followed(using):
                asking.not_known(table.label, what, "its expression has a volatile function or a subquery")
            elif (labels := _pending_labels(asking, definition["typeName"])) is not None:
                _labels(asking, table, name, using, labels, columns)
            elif _is_there(asking, typed):
                _convert(asking, table, name, using, definition["typeName"], columns)
            else:
                asking.not_known(table.label, what, f"the type {typed} does not exist yet")
    if len(asking.found) > found or table.types[name] != typed:
        table.unknown.setdefault(name, f"revision {asking.revision} changes the type of {name} first")
    table.types[name] = typed


def _convert(
    asking: Asking, table: PendingTable, name: str, using: Node, type_name: Node, columns: list[str]
) -> None:
    typed, was = type_sql(type_name), table.types[name]
    value = assigned(expression(using), type_name)
    if (was, typed) not in _WIDER or "ColumnRef" not in using:
        rows = asking.reader.refused(table, value, columns)
        said = f": {rows.messages[0]}" if rows.messages else ""
        asking.add(
            Kind.CONVERSION,
            table.label,
            f"in {table.label} {number(rows, 'has', 'have')} a {name} that cannot be made {typed}{said}",
            rows,
        )
        if rows.count:
            return
    table.compute({name: value})
    table.types[name] = typed
    if (was, typed) in _WIDER:
        return
    if name in table.not_null:
        table.not_null.discard(name)
        constraints.not_null(asking, table, name, because=f" as {typed}")
    for node in needed.demands(asking, table, name):
        constraints.ask(asking, table, node)


#: Changes of type that no value can refuse, nor make equal to another.
_WIDER = {
    ("smallint", "integer"), ("smallint", "int"), ("smallint", "bigint"), ("integer", "bigint"),
    ("real", "double precision"), ("character varying", "text"),
}  # fmt: skip


def assigned(value: str, type_name: Node) -> str:
    """A value as an assignment makes it: one that is too long is refused, where a CAST would cut it."""
    typed = type_sql(type_name)
    name = names(type_name["names"])[-1]
    length = [mod["A_Const"].get("ival", {}).get("ival", 0) for mod in type_name.get("typmods", ())]
    if name not in _WITH_LENGTH or not length or "arrayBounds" in type_name:
        return f"CAST({value} AS {typed})"
    base, header = _WITH_LENGTH[name]
    return f"pg_catalog.{quote(name)}(({value})::{base}, {length[0] + header}, false)"


#: Types of which a CAST cuts what an assignment refuses: the type without a length, and what it adds to it.
_WITH_LENGTH = {"varchar": ("varchar", 4), "bpchar": ("bpchar", 4), "bit": ("bit varying", 0),
                "varbit": ("bit varying", 0)}  # fmt: skip


def _pending_labels(asking: Asking, type_name: Node) -> list[str] | None:
    """The labels of an enum that pending statements make or change."""
    if "arrayBounds" in type_name:
        return None
    return asking.pending.enums.get(names(type_name["names"])[-1])


def _labels(
    asking: Asking, table: PendingTable, name: str, using: Node, labels: list[str], columns: list[str]
) -> None:
    """Values that the enum will not have."""
    text = expression(using["TypeCast"]["arg"] if "TypeCast" in using else using)
    listed = ", ".join(map(literal, labels))
    rows = asking.reader.where(table, f"({text})::text NOT IN ({listed})", columns)
    asking.add(
        Kind.CONVERSION,
        table.label,
        f"in {table.label} {number(rows, 'has', 'have')} a {name} that is no label of the type: {listed}",
        rows,
    )
