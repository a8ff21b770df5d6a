"""How an upgrade gives back what the downgrade of the same revision kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.archive import registry as archive
from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.triggers import must_suppress_triggers
from lockstep.steps.step import Copy, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.revision.migrator import Migrator


def give_back_column(
    migrator: Migrator, table: Table, name: str, new_type: str, initial: str | None
) -> list[Step]:
    """The steps that put a kept column's values back where the rows still have what the column began with.

    ``initial`` is the SQL of that (None: NULL). Empty where nothing is kept for this revision.
    """
    kept = archive.find(migrator, "column", table.schema, table.name, name)
    if kept is None or not kept.details["key"]:
        if kept is not None:
            migrator.warn(f"{kept} was kept from a table without a primary key; it stays in {kept.sql}")
        return []
    types = {
        column.name: column.type_sql for column in catalog.columns(migrator.connection, table.oid).values()
    }
    if any(k not in types for k in kept.details["key"]):
        migrator.warn(f"{table} has another primary key now; what was kept of {kept} stays in {kept.sql}")
        return []
    if kept.details["type"] != new_type:
        migrator.warn(f"{kept} was of type {kept.details['type']}; what was kept stays in {kept.sql}")
        return []
    same = " AND ".join(f"t.{quote(k)} = source.k{n}::{types[k]}" for n, k in enumerate(kept.details["key"]))
    begun = "NULL"
    if initial:
        # What now() was when the column was added is kept in the catalog only.
        where = f"attrelid = {literal(table.sql).strip()}::regclass AND attname = {literal(name).strip()}"
        begun = (
            f"coalesce((SELECT (attmissingval::text::text[])[1]::{new_type}::text FROM pg_attribute "
            f"WHERE {where}), ({initial})::text)"
        )
    statement = (
        f"UPDATE {table.sql} t SET {quote(name)} = source.value::{kept.details['type']} "
        f"FROM {kept.sql} source "
        f"WHERE {{inside}} AND {same} AND t.{quote(name)}::text IS NOT DISTINCT FROM {begun}"
    )
    return [
        Step(
            f"{table}: give back column {name}, kept at {kept.kept_at}",
            kind=Kind.COPY,
            copy=Copy(
                kept.sql, statement, without_triggers=_suppresses_triggers(migrator, table), into=table.sql
            ),
            undo=(),
        ),
        Step(
            f"{table}: column {name} is given back",
            sql=(f"DROP TABLE {kept.sql}", f"DELETE FROM lockstep.archive WHERE id = {kept.id}"),
            undo=None,
        ),
    ]


def _suppresses_triggers(migrator: Migrator, table: Table) -> bool:
    try:
        return must_suppress_triggers(migrator.connection, table, "giving back a column")
    except LockstepError as error:
        migrator.warn(f"{error}. They fire.")
        return False


def continue_sequences(migrator: Migrator, schema: str, table: str) -> list[str]:
    """Statements that let a table's sequences go on where those of the kept one stopped."""
    kept = archive.find(migrator, "table", schema, table, None)
    if kept is None:
        return []
    qualified = f"{quote(schema)}.{quote(table)}"
    return [
        f"SELECT setval(pg_get_serial_sequence({literal(qualified).strip()}, "
        f"{literal(column).strip()}), {last})"
        for column, last in kept.details["sequences"].items()
        if last is not None
    ]


def give_back_table(migrator: Migrator, table: Table) -> list[Step]:
    """The steps that put a kept table's rows into the one that the revision has created again.

    A row written meanwhile under the same key wins. A row whose parent is gone is set aside and reported.
    """
    connection = migrator.connection
    kept = archive.find(migrator, "table", table.schema, table.name, None)
    if kept is None:
        return []
    there = catalog.columns(connection, table.oid)
    common = [name for name in kept.details["types"] if name in there and not there[name].generated]
    values = ", ".join(f"gone.{quote(name)}::{there[name].type_sql}" for name in common)
    if changed := [name for name in common if kept.details["types"][name] != there[name].type_sql]:
        migrator.warn(f"{table}.{changed[0]} has another type now; what was kept stays in {kept.sql}")
        return []
    names = ", ".join(quote(name) for name in common)
    parents = _parents(connection, table, there)
    statement = (
        f"WITH gone AS (DELETE FROM {kept.sql} AS source WHERE {{inside}}{parents} RETURNING source.*) "
        f"INSERT INTO {table.sql} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM gone "
        "ON CONFLICT DO NOTHING"
    )
    settle = (
        f"BEGIN IF EXISTS (SELECT FROM {kept.sql}) THEN "
        f"UPDATE lockstep.archive SET state = 'set aside' WHERE id = {kept.id}; "
        f"RAISE WARNING 'rows of {table} whose parents are gone are set aside'; "
        f"ELSE DROP TABLE {kept.sql}; DELETE FROM lockstep.archive WHERE id = {kept.id}; END IF; END"
    )
    return [
        Step(
            f"{table}: give back its rows, kept at {kept.kept_at}",
            kind=Kind.COPY,
            copy=Copy(kept.sql, statement, until_still=True, into=table.sql),
            undo=(),
        ),
        Step(f"{table}: its rows are given back", sql=(f"DO {literal(settle).strip()}",), undo=None),
    ]


def _parents(connection: Connection, table: Table, there: dict[str, catalog.Column]) -> str:
    """A condition on ``source``: each of its foreign keys finds its parent."""
    conditions = []
    for parent, ours, theirs in catalog.rows(
        connection,
        """
        SELECT format('%%I.%%I', n.nspname, c.relname),
               ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p),
               ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, p)
                     JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY p)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.conrelid = %(oid)s AND k.conparentid = 0
        """,
        oid=table.oid,
    ):
        missing = " OR ".join(f"source.{quote(o)} IS NULL" for o in ours)
        match = " AND ".join(
            f"parent.{quote(t)} = source.{quote(o)}::{there[o].type_sql}"
            for o, t in zip(ours, theirs, strict=True)
        )
        conditions.append(f" AND ({missing} OR EXISTS (SELECT FROM {parent} parent WHERE {match}))")
    return "".join(conditions)
