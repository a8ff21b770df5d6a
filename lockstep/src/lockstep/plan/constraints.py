"""Which rows a constraint refuses that a pending statement adds or validates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.plan.asking import number
from lockstep.plan.finding import Kind
from lockstep.plan.pending import columns_of, expression, name_of
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.parser import parse
from lockstep.postgres.syntax import names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.plan.asking import Asking
    from lockstep.plan.pending import PendingTable
    from lockstep.postgres.catalog import Table
    from lockstep.postgres.syntax import Node


def add(asking: Asking, table: PendingTable, node: Node) -> None:
    """ADD CONSTRAINT: whether the rows break it."""
    name = node.get("conname")
    if name:
        if _exists(asking, table, name) and not table.in_doubt:
            asking.add(
                Kind.EXISTS, table.label, f"{table.label} has a constraint {name} already"
            )  # fmt: skip
            return
        table.constraints[name] = node
    else:
        asking.pending.implicit.add(table.name)
    kind = node["contype"]
    if kind in {"CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION"}:
        if "indexname" not in node and name and asking.pending.find(name, table.schema):
            asking.add(Kind.EXISTS, table.label, f"there is a relation {name} already")
        elif name:
            made = asking.pending.create(name, table.schema, f"revision {asking.revision} creates it", {})
            made.types = {}
    if not node.get("skip_validation"):
        ask(asking, table, node)


def ask(asking: Asking, table: PendingTable, node: Node) -> None:
    """Whether the rows break a constraint or a unique index, given by its tree."""
    kind = node.get("contype", "")
    if kind in _ASKED:
        _ASKED[kind](asking, table, node)
    elif "indexParams" in node:
        unique_index(asking, table, node)


def validate(asking: Asking, table: PendingTable, name: str) -> None:
    """VALIDATE CONSTRAINT."""
    node = table.constraints[name] if name in table.constraints else _in_catalog(asking, table, name)
    if node is None:
        if table.real and asking.pending.is_missing(name) and not table.in_doubt:
            asking.add(Kind.MISSING, table.label, f"{table.label} has no constraint {name}")
        return
    if not node.get("initially_valid"):
        ask(asking, table, node)


def drop(asking: Asking, table: PendingTable, name: str, *, missing_ok: bool) -> None:
    """DROP CONSTRAINT."""
    there = _exists(asking, table, name)
    known = asking.pending.is_missing(name) and not table.in_doubt
    if not there and not missing_ok and table.real and known:
        asking.add(Kind.MISSING, table.label, f"{table.label} has no constraint {name}")
    table.constraints[name] = None
    index = asking.pending.find(name, table.schema)
    if index and (index.real is None or index.real.kind in {"i", "I"}):
        asking.pending.drop(index)


def rename(asking: Asking, table: PendingTable, old: str, new: str) -> None:
    """RENAME CONSTRAINT."""
    node = table.constraints.get(old) or _in_catalog(asking, table, old)
    drop(asking, table, old, missing_ok=False)
    if node:
        table.constraints[new] = {**node, "conname": new}


def validate_domain(asking: Asking, name: tuple[str, ...], constraint: str) -> None:
    """ALTER DOMAIN … VALIDATE CONSTRAINT."""
    found = catalog.scalar(
        asking.reader.connection,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contypid = to_regtype(%(name)s) AND conname = %(constraint)s",
        name=name_of(name),
        constraint=constraint,
    )
    if found:
        domain(asking, name, constraint_of(f"ALTER DOMAIN x ADD CONSTRAINT {quote(constraint)} {found}"))


def _exists(asking: Asking, table: PendingTable, name: str) -> bool:
    if name in table.constraints:
        return table.constraints[name] is not None
    return _in_catalog(asking, table, name) is not None


def _in_catalog(asking: Asking, table: PendingTable, name: str) -> Node | None:
    return in_catalog(asking.reader.connection, table.real, name) if table.real else None


def in_catalog(connection: Connection, table: Table, name: str) -> Node | None:
    """A constraint that is there now, as ADD CONSTRAINT would have it; valid or not."""
    found = catalog.rows(
        connection,
        "SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint "
        "WHERE conrelid = %(oid)s AND conname = %(name)s",
        oid=table.oid,
        name=name,
    )
    if not found:
        return None
    definition, valid = found[0]
    node = constraint_of(f"ALTER TABLE x ADD CONSTRAINT {quote(name)} {definition}")
    return {**node, "initially_valid": valid}


def constraint_of(statement: str) -> Node:
    """The constraint that an ALTER TABLE, or an ALTER DOMAIN, adds."""
    ((_, fields),) = parse(statement)[0]["stmt"].items()
    command = fields["cmds"][0]["AlterTableCmd"] if "cmds" in fields else fields
    found: Node = command["def"]["Constraint"]
    return found


def unique(asking: Asking, table: PendingTable, node: Node) -> None:
    """UNIQUE and PRIMARY KEY."""
    if "indexname" in node:  # its index has seen to it
        return
    columns = names(node.get("keys", []))
    words = "the primary key" if node["contype"] == "CONSTR_PRIMARY" else "the unique constraint"
    named = f"{words} {node['conname']}" if node.get("conname") else f"{words} ({', '.join(columns)})"
    if node["contype"] == "CONSTR_PRIMARY":
        for column in columns:
            not_null(asking, table, column, because=f": {named} refuses that")
    _twice(asking, table, columns, [quote(column) for column in columns], named, node)


def unique_index(asking: Asking, table: PendingTable, node: Node) -> None:
    """CREATE UNIQUE INDEX, with expressions and a condition."""
    keys: list[str] = []
    columns: list[str] = []
    for element in (param["IndexElem"] for param in node["indexParams"]):
        columns += columns_of(element["expr"], table) if "expr" in element else [element["name"]]
        key = f"({expression(element['expr'])})" if "expr" in element else quote(element["name"])
        collation = ".".join(map(quote, names(element.get("collation", []))))
        keys.append(f"{key} COLLATE {collation}" if collation else key)
    columns += columns_of(node.get("whereClause"), table)
    named = f"the unique index {node.get('idxname') or 'on ' + ', '.join(keys)}"
    _twice(asking, table, columns, keys, named, node)


def _twice(
    asking: Asking, table: PendingTable, columns: Sequence[str], keys: Sequence[str], named: str, node: Node
) -> None:
    what = f"{named} finds a value twice in {table.label}"
    if not asking.may_ask(table, columns, what):
        return
    with asking.about(table, what):
        where = f"({expression(node['whereClause'])})" if "whereClause" in node else ""
        rows = asking.reader.duplicates(
            table, keys, columns, where, nulls_equal=bool(node.get("nulls_not_distinct"))
        )
        said = rows.messages[0] if rows.messages else ""
        key, of_them = ", ".join(key.strip('"') for key in keys), number(rows, "has", "have")
        asking.add(
            Kind.CHECK if said else Kind.DUPLICATES,
            table.label,
            f"{named} cannot compute {number(rows)} of {table.label}: {said}"
            if said
            else f"in {table.label} {of_them} a value of {key} that another row has, too: "
            f"{named} refuses that",
            rows,
        )


def not_null(asking: Asking, table: PendingTable, column: str, because: str = "") -> None:
    """SET NOT NULL."""
    if column in table.not_null:
        return
    what = f"{table.label}.{column} has NULLs"
    if not asking.may_ask(table, [column], what):
        return
    with asking.about(table, what):
        rows = asking.reader.where(table, f"{quote(column)} IS NULL", [column])
        asking.add(
            Kind.NULLS,
            table.label,
            f"in {table.label} {number(rows, 'has', 'have')} NULL in {column}{because}",
            rows,
        )
    table.not_null.add(column)


def _not_null(asking: Asking, table: PendingTable, node: Node) -> None:
    not_null(asking, table, names(node["keys"])[0])


def check(asking: Asking, table: PendingTable, node: Node) -> None:
    """CHECK."""
    if not node.get("is_enforced", True):
        return
    named = f"the check {node['conname']}" if node.get("conname") else "the check"
    what = f"{named} refuses rows of {table.label}"
    columns = columns_of(node["raw_expr"], table)
    if not asking.may_ask(table, columns, what):
        return
    with asking.about(table, what):
        condition = expression(node["raw_expr"])
        rows = asking.reader.where(table, f"NOT ({condition})", columns)
        said = f" ({rows.messages[0]})" if rows.messages else ""
        asking.add(
            Kind.CHECK,
            table.label,
            f"{named} refuses {number(rows)} of {table.label}: {condition}{said}",
            rows,
        )


def foreign_key(asking: Asking, table: PendingTable, node: Node) -> None:
    """FOREIGN KEY: rows that refer to nothing; with MATCH FULL those that are NULL in part."""
    if not node.get("is_enforced", True):
        return
    columns = list(names(node.get("fk_attrs", [])))
    parent = asking.table(node["pktable"])
    if parent is None:
        return
    referred = list(names(node.get("pk_attrs", []))) or list(parent.key)
    named = node.get("conname") or f"({', '.join(columns)})"
    what = f"the foreign key {named} finds rows of {table.label} that refer to nothing"
    if not asking.may_ask(table, columns, what):
        return
    some, every = (
        " AND ".join(f"{quote(column)} {test}" for column in columns) for test in ("IS NULL", "IS NOT NULL")
    )
    with asking.about(table, what):
        if parent.why_unknown(referred) and not asking.reader.where(table, every, columns).count:
            return  # there is nothing that refers to anything
        if not asking.may_ask(parent, referred, what):
            return
        match = " AND ".join(
            f"lockstep_parent.{quote(theirs)} = {quote(table.name)}.{quote(ours)}"
            for ours, theirs in zip(columns, referred, strict=True)
        )
        absent = f"NOT EXISTS (SELECT FROM {parent.rows('lockstep_parent')} WHERE {match})"
        full = node.get("fk_matchtype") == "f"
        broken = f"({every} AND {absent})" + (f" OR NOT (({some}) OR ({every}))" if full else "")
        rows = asking.reader.where(table, broken, columns)
        asking.add(
            Kind.ORPHANS,
            table.label,
            f"in {table.label} {number(rows, 'refers', 'refer')} by ({', '.join(columns)}) to no row of "
            f"{parent.label}: the foreign key {named} refuses that",
            rows,
        )


def exclusion(asking: Asking, table: PendingTable, node: Node) -> None:
    """EXCLUDE: rows that conflict with another one."""
    named = f"the exclusion constraint {node.get('conname', '')}".rstrip()
    what = f"{named} finds rows of {table.label} that conflict"
    columns, conditions = columns_of(node.get("where_clause"), table), []
    other = "lockstep_other"
    for element, operator in (one["List"]["items"] for one in node["exclusions"]):
        index = element["IndexElem"]
        columns += columns_of(index["expr"], table) if "expr" in index else [index["name"]]
        key = expression(index["expr"]) if "expr" in index else quote(index["name"])
        sign = ".".join([*map(quote, names(operator["List"]["items"])[:-1]), ""])
        sign += names(operator["List"]["items"])[-1]
        ours, theirs = (f"(SELECT {key} FROM (SELECT {alias}.*) {quote(table.name)})" for alias in ("a", "b"))
        if "expr" not in index:
            ours, theirs = f"a.{key}", f"b.{key}"
        conditions.append(f"{ours} OPERATOR({sign}) {theirs}")
    if not asking.may_ask(table, columns, what):
        return
    with asking.about(table, what):
        chosen = f" WHERE {expression(node['where_clause'])}" if "where_clause" in node else ""
        rows_sql = f"(SELECT * FROM {table.rows()}{chosen})"
        apart = "(a.lockstep_ctid, a.lockstep_table) IS DISTINCT FROM (b.lockstep_ctid, b.lockstep_table)"
        exists = f"EXISTS (SELECT FROM {rows_sql} b WHERE {apart} AND {' AND '.join(conditions)})"
        source = f"(SELECT * FROM {rows_sql} a WHERE {exists}) AS {other}"
        rows = asking.reader.where(table, "true", columns, source)
        asking.add(
            Kind.EXCLUSION,
            table.label,
            f"in {table.label} {number(rows, 'conflicts', 'conflict')} with another row: "
            f"{named} refuses that",
            rows,
        )


def domain(asking: Asking, name: tuple[str, ...], node: Node | None) -> None:
    """A check that a domain gets, or NOT NULL where there is none: each column of that domain."""
    columns = catalog.rows(
        asking.reader.connection,
        f"""
        SELECT n.nspname, c.relname, a.attname FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.atttypid = to_regtype({literal(name_of(name))}) AND NOT a.attisdropped
        ORDER BY 1, 2, 3
        """,
    )
    for place, relation, column in columns:
        table = asking.pending.find(relation, place)
        if table is None or table.real is None:
            continue
        if node is None:
            not_null(asking, table, column, because=f": the domain {name[-1]} refuses that")
        else:
            own = {"ColumnRef": {"fields": [{"String": {"sval": column}}]}}
            check(asking, table, {**node, "raw_expr": _with_value(node["raw_expr"], own)})


def _with_value(tree: Any, column: Node) -> Any:
    """The expression of a domain's check, with a column in VALUE's place."""
    if isinstance(tree, list):
        return [_with_value(item, column) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("ColumnRef", {}).get("fields") == [{"String": {"sval": "value"}}]:
        return column
    return {name: _with_value(item, column) for name, item in tree.items()}


_ASKED: dict[str, Callable[[Asking, PendingTable, Node], None]] = {
    "CONSTR_UNIQUE": unique,
    "CONSTR_PRIMARY": unique,
    "CONSTR_CHECK": check,
    "CONSTR_FOREIGN": foreign_key,
    "CONSTR_NOTNULL": _not_null,
    "CONSTR_EXCLUSION": exclusion,
}
