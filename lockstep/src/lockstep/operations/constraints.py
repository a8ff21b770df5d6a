"""Foreign keys, CHECK and NOT NULL: made NOT VALID in a moment, then validated while everybody goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.schema import AddConstraint, CheckConstraint, ForeignKeyConstraint

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.revision.migrator import Migrator


def validate(table_sql: str, says: str, name: str, offenders: str | None) -> Step:
    """VALIDATE CONSTRAINT: reads the whole table under a lock that lets readers and writers through."""
    return Step(
        f"{says}: validate {name}",
        sql=(f"ALTER TABLE {table_sql} VALIDATE CONSTRAINT {quote(name)}",),
        kind=Kind.LONG,
        offenders=offenders,
        undo=(),
    )


def _drop(table: Table, name: str) -> tuple[str, ...]:
    return (f"ALTER TABLE {table.sql} DROP CONSTRAINT IF EXISTS {quote(name)}",)


def validate_foreign_key(
    child: str, says: str, name: str, parent: str, columns: Sequence[str], offenders: str | None
) -> Step:
    """VALIDATE CONSTRAINT of a foreign key: joins the tables while readers and writers go on.

    The join is planned as a hash join, which misses the processor's cache at each of its rows once the parent
    is large; sorted numbers are merged in a third of the time (docs/decisions/steps.md).
    """
    step = validate(child, says, name, offenders)
    if len(columns) != 1:
        return step
    merged = (
        "SELECT set_config('enable_hashjoin', 'off', true) FROM pg_class c, pg_class p, pg_attribute a "
        f"WHERE c.oid = {literal(child)}::regclass AND p.oid = {literal(parent)}::regclass "
        f"AND a.attrelid = c.oid AND a.attname = {literal(columns[0])} "
        "AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) "
        "AND p.reltuples > 200000 AND c.reltuples BETWEEN p.reltuples AND 100000000"
    )
    return replace(step, sql=(merged, *step.sql))


def foreign_key(migrator: Migrator, table: Table, constraint: Any) -> list[Step] | None:
    """ADD FOREIGN KEY NOT VALID under one brief lock on both tables, then VALIDATE. None: as written."""
    if constraint.dialect_options["postgresql"].get("not_valid"):
        return None
    connection = migrator.connection
    element = constraint.elements[0]
    target = element.target_fullname.rsplit(".", 1)[0]
    schema, _, target_name = target.rpartition(".")
    parent = catalog.find_table(connection, target_name, schema or None)
    if parent is None:
        raise LockstepError(f"{table}: a foreign key refers to table {target}, which does not exist")
    if table.kind == "p" and catalog.server_version(connection) < 18:
        raise LockstepError(
            f"{table} is partitioned: a foreign key NOT VALID needs PostgreSQL 18 there. "
            "Let the tables be locked with `with lockstep.plain():`"
        )
    columns = list(constraint.column_keys)
    if constraint.name is None:
        constraint.name = catalog.default_name(connection, table, columns, "fkey")
    name = migrator.name_of(constraint)
    constraint.dialect_options["postgresql"]["not_valid"] = True
    return foreign_key_steps(
        table, parent, name, columns, [e.target_fullname.rsplit(".", 1)[1] for e in constraint.elements],
        migrator.compile(AddConstraint(constraint, isolate_from_table=True)),
    )  # fmt: skip


def foreign_key_steps(
    table: Table,
    parent: Table,
    name: str,
    columns: Sequence[str],
    referred: Sequence[str],
    add: str,
) -> list[Step]:
    """The two steps of a foreign key, from the statement that adds it NOT VALID."""
    locks = [(table.sql, "SHARE ROW EXCLUSIVE")]
    if parent.oid != table.oid:
        locks.append((parent.sql, "SHARE ROW EXCLUSIVE"))
    given = " AND ".join(f"lockstep_row.{quote(column)} IS NOT NULL" for column in columns)
    match = " AND ".join(
        f"lockstep_parent.{quote(theirs)} = lockstep_row.{quote(ours)}"
        for ours, theirs in zip(columns, referred, strict=True)
    )
    offenders = (
        f"SELECT to_jsonb(lockstep_row)::text FROM {table.sql} lockstep_row WHERE {given} "
        f"AND NOT EXISTS (SELECT FROM {parent.sql} lockstep_parent WHERE {match})"
    )
    return [
        Step(
            f"{table}: add foreign key {name}, not valid yet",
            sql=(add,),
            locks=tuple(locks),
            undo=_drop(table, name),
        ),
        validate_foreign_key(table.sql, str(table), name, parent.sql, columns, offenders),
    ]


def check(
    migrator: Migrator,
    table: Table,
    constraint: Any,
    prepare: Callable[[Copy], None] = lambda _: None,
) -> list[Step] | None:
    """ADD CHECK NOT VALID, then VALIDATE. None: as written."""
    options = constraint.dialect_options["postgresql"]
    if options.get("not_valid"):
        return None
    if constraint.name is None:
        constraint.name = _rehearsed_check_name(migrator, table, constraint, prepare)
    name = migrator.name_of(constraint)
    options["not_valid"] = True
    expression = str(constraint.sqltext.compile(dialect=migrator.context.dialect)).replace("%%", "%")
    return [
        Step(
            f"{table}: add check {name}, not valid yet",
            sql=(migrator.compile(AddConstraint(constraint, isolate_from_table=True)),),
            undo=_drop(table, name),
        ),
        validate(
            table.sql,
            str(table),
            name,
            f"SELECT to_jsonb(lockstep_row)::text FROM {table.sql} lockstep_row WHERE NOT ({expression})",
        ),
    ]


def _rehearsed_check_name(
    migrator: Migrator, table: Table, constraint: Any, prepare: Callable[[Copy], None]
) -> str:
    connection = migrator.connection
    with rehearsal(connection, table) as copy:
        prepare(copy)
        schema, constraint.table.schema = constraint.table.schema, "pg_temp"
        copy.run(migrator.compile(AddConstraint(constraint, isolate_from_table=True)))
        constraint.table.schema = schema
        columns = catalog.rows(
            connection,
            """
            SELECT a.attname FROM pg_constraint c, unnest(c.conkey) k(n)
            JOIN pg_attribute a ON a.attnum = k.n
            WHERE a.attrelid = c.conrelid AND c.oid = (
                SELECT max(oid) FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c')
            """,
            oid=copy.oid,
        )
    # PostgreSQL puts the column into the name only where the expression speaks of exactly one.
    parts = [row[0] for row in columns] if len(columns) == 1 else []
    return catalog.default_name(connection, table, parts, "check")


def offline(migrator: Migrator, constraint: Any) -> list[Step] | None:
    """For a --sql script: NOT VALID, then VALIDATE, where the name is known without asking PostgreSQL."""
    options = constraint.dialect_options["postgresql"]
    if (
        not isinstance(constraint, ForeignKeyConstraint | CheckConstraint)
        or constraint.name is None
        or options.get("not_valid")
    ):
        return None
    name = migrator.context.dialect.identifier_preparer.format_constraint(constraint)
    options["not_valid"] = True
    table = migrator.context.dialect.identifier_preparer.format_table(constraint.table)
    add = migrator.compile(AddConstraint(constraint, isolate_from_table=True))
    check = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    return [
        Step(f"{table}: add {name}, not valid yet", sql=(add,), undo=()),
        Step(f"{table}: validate {name}", sql=(check,), kind=Kind.LONG, undo=()),
    ]


def not_null(connection: Connection, table: Table, column: str) -> list[Step]:
    """SET NOT NULL without a scan under a lock; nothing is left over.

    PostgreSQL 18 has NOT NULL … NOT VALID; before, a validated CHECK lets SET NOT NULL skip its scan (manual,
    ALTER TABLE). Empty where the column is NOT NULL already.
    """
    existing = catalog.columns(connection, table.oid).get(column)
    if existing is None:
        raise LockstepError(f"{table} has no column {column}")
    return [] if existing.not_null else not_null_steps(connection, table, column)


def not_null_steps(connection: Connection, table: Table, column: str) -> list[Step]:
    """The steps of ``not_null``, for a column that need not exist yet."""
    offenders = (
        f"SELECT to_jsonb(lockstep_row)::text FROM {table.sql} lockstep_row "
        f"WHERE lockstep_row.{quote(column)} IS NULL"
    )
    undo = (f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column)} DROP NOT NULL",)
    if catalog.server_version(connection) >= 18:
        name = catalog.default_name(connection, table, [column], "not_null")
        add = f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} NOT NULL {quote(column)} NOT VALID"
        return [
            Step(f"{table}.{column}: not null for new rows", sql=(add,), undo=undo),
            validate(table.sql, f"{table}.{column}", name, offenders),
        ]
    name = catalog.default_name(connection, table, [column], "lockstep_not_null")
    check = f"CHECK ({quote(column)} IS NOT NULL) NOT VALID"
    return [
        Step(
            f"{table}.{column}: not null for new rows",
            sql=(f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} {check}",),
            undo=_drop(table, name),
        ),
        validate(table.sql, f"{table}.{column}", name, offenders),
        Step(
            f"{table}.{column}: set not null",
            sql=(
                f"ALTER TABLE {table.sql} ALTER COLUMN {quote(column)} SET NOT NULL",
                f"ALTER TABLE {table.sql} DROP CONSTRAINT {quote(name)}",
            ),
            undo=undo,
        ),
    ]
