"""Changing a column's type where PostgreSQL would rewrite the whole table under a lock.

A shadow column of the new type is kept in step by a trigger and filled in batches; its indexes, checks and
foreign keys are built beside the old ones; then both change places in one brief transaction. The column moves
to the end of the row; everything else ends as ALTER COLUMN … TYPE leaves it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.operations import replacement as beside
from lockstep.operations.column_parts import parts_of
from lockstep.operations.conversion import conversion
from lockstep.operations.demands import demands_of, refuse_bad_rows, twins
from lockstep.operations.fillable import refuse_unfillable
from lockstep.operations.replaced_keys import foreign_keys_of, make_beside, rehearse
from lockstep.operations.replacement import Plan
from lockstep.operations.shadow import Shadow
from lockstep.postgres import catalog, grants
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.postgres.session import execute
from lockstep.postgres.triggers import must_suppress_triggers
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table
    from lockstep.revision.planning import Planning


def retype(planning: Planning, table: Table, column: str, trial: str, using: str | None) -> list[Step]:
    """The steps that change a column's type online.

    ``trial`` is the plain statement, aimed at the rehearsal's copy of the table; ``using`` its expression.
    Refused for what ALTER COLUMN … TYPE refuses too (views, policies, triggers and generated columns on the
    column, columns of the table's row type, values that cannot be converted), for partitioned tables, and for
    exclusion constraints. Reads the whole table, once or twice, before anything is changed.
    """
    connection = planning.connection
    old = catalog.columns(connection, table.oid).get(column)
    if old is None:
        raise LockstepError(f"{table} has no column {column}")
    _refuse(connection, table, old)
    doing = f"changing the type of {column}"
    refuse_unfillable(connection, table, doing)
    without_triggers = must_suppress_triggers(connection, table, f"filling the new {column}")
    shadow = catalog.clip(f"lockstep_{old.number}_{column}")
    plan = Plan(locks={table.oid: table.sql})
    with rehearsal(connection, table) as copy:
        execute(connection, "SET LOCAL statement_timeout = 0")  # it reads the table
        owners = beside.kept_owners(copy, table)
        before = parts_of(connection, copy.oid)
        copy.run(trial)
        copy.run(f"ALTER TABLE {copy.sql} RENAME COLUMN {quote(column)} TO {quote(shadow)}")
        became = catalog.columns(connection, copy.oid)[shadow]
        after = parts_of(connection, copy.oid)
        keys = rehearse(copy, table, old, foreign_keys_of(connection, table, old, shadow))
        settings = _settings(connection, table, old, copy.oid, became)
        demands = demands_of(
            connection, table, copy.oid, parts_of(connection, table.oid), before, after,
            not_null=beside.is_valid_not_null(connection, table, old), foreign_keys=keys,
        )  # fmt: skip
        copy.run(f"ALTER TABLE {copy.sql} ADD COLUMN {quote(column)} {old.definition}")
        converted = conversion(copy, table, old, became, using)
        refuse_bad_rows(copy, converted, demands)
    planning.warn(
        f"{table}.{column} becomes the last column of its row, and its rows may lie in another order: INSERT "
        "and COPY without a list of columns put values into others"
    )
    identity = (
        catalog.identity_options(connection, table.oid, old.number, became.type_sql) if old.identity else ""
    )
    kept = Shadow(connection, converted)
    plan.before += [
        kept.add(settings),
        kept.fill(without_triggers=without_triggers),
        Step(
            # Before the foreign keys: the check of their rows is a join, planned by these.
            f"{table}: statistics of the new {column}",
            sql=(f"ANALYZE {table.sql} ({quote(shadow)})",),
            kind=Kind.LONG,
            undo=(),
        ),
    ]
    if old.not_null:
        beside.not_null(connection, table, old, shadow, plan)
    again = {name: twins(table.sql, key) for name, key in demands.unique.items()}
    beside.indexes_of(connection, table, old, shadow, before.changed_indexes(after), again, plan)
    for name, definition in after.checks.items():
        if before.checks.get(name) != definition:
            beside.check(connection, table, name, definition, plan)
    make_beside(keys, plan)
    beside.statistics(connection, table, old, before.changed_statistics(after), owners, plan)
    built = [replace(step, private=True) for step in (*plan.before, kept.verify())]
    return [*built, _swap(connection, kept, identity, plan)]


# Whoever follows by another plugin than PostgreSQL's own is no subscription.
_PUBLISHED = """
    SELECT pubname::text FROM pg_publication_tables JOIN pg_class ON oid = %(oid)s
    WHERE schemaname = relnamespace::regnamespace::text AND tablename = relname
      AND EXISTS (SELECT FROM pg_replication_slots
                  WHERE plugin = 'pgoutput' AND database = current_database())
    ORDER BY pubname
"""


def _refuse(connection: Connection, table: Table, column: Column) -> None:
    if table.kind != "r" or catalog.inherits(connection, table):
        raise LockstepError(
            f"{table} is partitioned, inherited or no ordinary table: the type of {column.name} cannot be "
            "changed online. Let the table be locked with `with lockstep.plain():`"
        )
    in_the_way = catalog.rows(
        connection,
        """
        SELECT DISTINCT pg_describe_object(classid, objid, 0) FROM pg_depend d
        WHERE refclassid = 'pg_class'::regclass AND refobjid = %(oid)s AND refobjsubid = %(number)s
          AND (classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_publication_rel'::regclass,
                           'pg_proc'::regclass, 'pg_trigger'::regclass)
               AND NOT EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgisinternal)
            OR classid = 'pg_attrdef'::regclass
               AND (SELECT adnum FROM pg_attrdef WHERE oid = d.objid) <> %(number)s
            OR classid = 'pg_constraint'::regclass
               AND (SELECT contype FROM pg_constraint WHERE oid = d.objid) = 'x')
        """,
        oid=table.oid,
        number=column.number,
    )
    if in_the_way:
        raise LockstepError(
            f"{table}.{column.name}: its type cannot be changed while these depend on it: "
            + ", ".join(row[0] for row in in_the_way)
            + ". Drop them before the operation and create them again after it"
        )
    if published := catalog.rows(connection, _PUBLISHED, oid=table.oid):
        raise LockstepError(
            f"{table} is published ({', '.join(row[0] for row in published)}), and a replication slot is "
            'there: a logical subscriber stops at the column that is filled beside this one ("missing '
            'replicated column"). Let the table be locked with `with lockstep.plain():`, or take it from '
            "the publication"
        )
    if column.generated:
        raise LockstepError(
            f"{table}.{column.name} is a generated column: drop it and add it with the new type"
        )


def _settings(connection: Connection, table: Table, old: Column, copy: int, became: Column) -> list[str]:
    """Settings that ALTER COLUMN … TYPE keeps (target, options) or makes anew (storage, compression)."""
    target, options = catalog.rows(
        connection,
        # pg_attver is no setting: the minor releases since 15.20 keep a column's version there.
        "SELECT coalesce(attstattarget, -1), "
        "ARRAY(SELECT o FROM unnest(attoptions) o WHERE NOT starts_with(o, 'pg_attver=')) "
        "FROM pg_attribute WHERE attrelid = %(oid)s AND attnum = %(number)s",
        oid=table.oid,
        number=old.number,
    )[0]
    storage, default_storage, compression = catalog.rows(
        connection,
        "SELECT a.attstorage::text, t.typstorage::text, a.attcompression::text "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = %(oid)s AND a.attname = %(name)s",
        oid=copy,
        name=became.name,
    )[0]
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quote(became.name)}"
    statements = []
    if target >= 0:
        statements.append(f"{alter} SET STATISTICS {target}")
    if storage != default_storage:
        words = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
        statements.append(f"{alter} SET STORAGE {words[storage]}")
    if compression:
        statements.append(f"{alter} SET COMPRESSION {'lz4' if compression == 'l' else 'pglz'}")
    if options:
        statements.append(f"{alter} SET ({', '.join(options)})")
    return statements


def _swap(connection: Connection, kept: Shadow, identity: str, plan: Plan) -> Step:
    table, old, became = kept.table, kept.conversion.old, kept.conversion.became
    name, shadow = quote(old.name), quote(became.name)
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN"
    sequences = [row[0] for row in catalog.rows(
        connection,
        """
        SELECT d.objid::regclass::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = %(oid)s AND d.refobjsubid = %(number)s AND d.deptype = %(kind)s
        """,
        oid=table.oid, number=old.number, kind="i" if old.identity else "a",
    )]  # fmt: skip
    statements = [kept.still_last(), *kept.drop_trigger(), *plan.detach]
    after: list[str] = []
    if old.identity:
        sequence = sequences[0]
        statements.append(
            "SELECT set_config('lockstep.sequence', format('%s,%s', last_value, is_called), true) "
            f"FROM {sequence}"
        )
        after += [
            f"{alter} {name} ADD GENERATED {identity.format(name=sequence)}",
            f"SELECT setval({literal(sequence)}, split_part(current_setting('lockstep.sequence'), ',', 1)"
            "::bigint, split_part(current_setting('lockstep.sequence'), ',', 2)::boolean)",
            *grants.grants(connection, literal(sequence) + "::regclass", f"SEQUENCE {sequence}"),
        ]
    else:
        statements += [f"ALTER SEQUENCE {sequence} OWNED BY {table.sql}.{shadow}" for sequence in sequences]
    if became.default and not identity:
        after.append(f"{alter} {name} SET DEFAULT {became.default}")
    comment = catalog.scalar(
        connection, "SELECT col_description(%(oid)s, %(number)s)", oid=table.oid, number=old.number
    )
    if comment:
        after.append(f"COMMENT ON COLUMN {table.sql}.{name} IS {literal(comment)}")
    after += grants.column_grants(connection, table, old)
    return Step(
        f"{table}: the new {old.name} takes the old one's place (last in the row)",
        sql=(
            *statements,
            f"ALTER TABLE {table.sql} DROP COLUMN {name}",
            f"ALTER TABLE {table.sql} RENAME COLUMN {shadow} TO {name}",
            *plan.attach,
            *after,
        ),
        locks=tuple((sql, "ACCESS EXCLUSIVE") for _, sql in sorted(plan.locks.items())),
        undo=None,
    )
