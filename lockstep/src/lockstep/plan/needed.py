"""What depends on a table, a column or an index, as the catalog has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.plan.finding import Kind
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.parser import parse

if TYPE_CHECKING:
    from collections.abc import Collection

    from lockstep.plan.asking import Asking
    from lockstep.plan.pending import PendingTable
    from lockstep.postgres.syntax import Node


def views(asking: Asking, table: PendingTable, column: str | None, cannot: str) -> None:
    """Views that read the table, or one column of it."""
    if table.real is None or asking.pending.unfollowed:
        return
    found = catalog.rows(
        asking.reader.connection,
        f"""
        SELECT DISTINCT n.nspname, v.relname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = {table.real.oid} AND v.oid <> {table.real.oid} {_of(table, column)}
        ORDER BY 1, 2
        """,
    )
    named = [name for schema, name in found if asking.pending.of_real(name, schema)]
    if named:
        asking.add(Kind.NEEDED, table.label, f"{cannot}: the view {', '.join(named)} depends on it")


def column(asking: Asking, table: PendingTable, name: str, cannot: str) -> None:
    """Views that read a column, and foreign keys of others that refer to it."""
    views(asking, table, name, cannot)
    if table.real is None:
        return
    _keys(asking, table, cannot, f"AND {_number(table, name)} = ANY (k.confkey)")


def dropped(asking: Asking, table: PendingTable, together: Collection[PendingTable]) -> None:
    """What depends on a table that is dropped without CASCADE."""
    views(asking, table, None, f"cannot drop {table.label}")
    if table.real is not None:
        _keys(asking, table, f"cannot drop {table.label}", "", together)


def _keys(
    asking: Asking, table: PendingTable, cannot: str, which: str, together: Collection[PendingTable] = ()
) -> None:
    found = catalog.rows(
        asking.reader.connection,
        f"""
        SELECT n.nspname, c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.confrelid = {_oid(table)} AND k.conrelid <> k.confrelid
          AND k.conparentid = 0 {which} ORDER BY 1, 2, 3
        """,
    )
    here = [one.real.oid for one in together if one.real]
    for schema, name, key in found:
        child = asking.pending.of_real(name, schema)
        if child is None or (child.real and child.real.oid in here) or asking.pending.unfollowed:
            continue
        if key in child.constraints and child.constraints[key] is None:
            continue
        asking.add(
            Kind.NEEDED, table.label, f"{cannot}: the foreign key {key} of {child.label} depends on it"
        )


def index(asking: Asking, found: PendingTable) -> None:
    """A constraint that an index belongs to."""
    if found.real is None:
        return
    owner = catalog.scalar(
        asking.reader.connection,
        f"SELECT conname FROM pg_constraint WHERE conindid = {found.real.oid} AND contype IN ('p', 'u', 'x')",
    )
    if owner:
        asking.add(
            Kind.NEEDED, found.label, f"cannot drop the index {found.label}: the constraint {owner} needs it"
        )


def _oid(table: PendingTable) -> int:
    return table.real.oid if table.real else 0


def _number(table: PendingTable, name: str) -> str:
    now = literal(table.real_names.get(name, name))
    return (
        f"(SELECT attnum FROM pg_attribute WHERE attrelid = {_oid(table)} AND attname = {now} "
        "AND NOT attisdropped)"
    )


def _of(table: PendingTable, name: str | None) -> str:
    return "" if name is None else f"AND d.refobjsubid = {_number(table, name)}"


def constraints_of(asking: Asking, table: PendingTable, name: str) -> list[str]:
    """The constraints that go with a column."""
    if table.real is None:
        return []
    return [
        row[0]
        for row in catalog.rows(
            asking.reader.connection,
            f"SELECT conname FROM pg_constraint WHERE conrelid = {table.real.oid} "
            f"AND {_number(table, name)} = ANY (conkey)",
        )
    ]


def indexes_of(asking: Asking, table: PendingTable, name: str | None) -> list[str]:
    """The indexes of a table, or those that go with one column of it."""
    if table.real is None:
        return []
    which = f"AND {_number(table, name)} = ANY (i.indkey::int2[])" if name else ""
    return [
        row[0]
        for row in catalog.rows(
            asking.reader.connection,
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            f"WHERE i.indrelid = {table.real.oid} {which}",
        )
    ]


def demands(asking: Asking, table: PendingTable, name: str) -> list[Node]:
    """What unique indexes, checks and foreign keys of a column ask of its new values: the tree of each."""
    if table.real is None or table.renamed:
        return []
    found = catalog.rows(
        asking.reader.connection,
        f"""
        SELECT pg_get_indexdef(i.indexrelid) AS sql FROM pg_index i
        WHERE i.indrelid = {table.real.oid} AND i.indisunique
          AND {_number(table, name)} = ANY (i.indkey::int2[])
        UNION ALL
        SELECT format('ALTER TABLE x ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid = {table.real.oid} AND contype IN ('c', 'f') AND convalidated
          AND {_number(table, name)} = ANY (conkey)
        """,
    )
    trees: list[Node] = []
    for (sql,) in found:
        ((kind, fields),) = parse(sql)[0]["stmt"].items()
        tree = fields if kind == "IndexStmt" else fields["cmds"][0]["AlterTableCmd"]["def"]["Constraint"]
        label = tree.get("idxname") or tree["conname"]
        if label in table.constraints and table.constraints[label] is None:
            continue
        if kind == "IndexStmt" and asking.pending.of_real(label, table.schema) is None:
            continue
        trees.append(tree)
    return trees


def types(asking: Asking, name: tuple[str, ...]) -> None:
    """Columns of a type that is dropped without CASCADE."""
    sql = ".".join(map(quote, name))
    found = catalog.rows(
        asking.reader.connection,
        f"""
        SELECT n.nspname, c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = to_regtype({literal(sql)})
        WHERE a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
        ORDER BY 1, 2, 3
        """,
    )
    for schema, relation, attribute in found:
        table = asking.pending.of_real(relation, schema)
        if table is None or asking.pending.unfollowed or table.renamed:
            continue
        if attribute in table.types and attribute not in table.unknown:
            of_it = f"{table.label}.{attribute} is of it"
            asking.add(Kind.NEEDED, table.label, f"cannot drop the type {name[-1]}: {of_it}")
