"""Changing a column's type where PostgreSQL would rewrite the whole table under a lock.

A shadow column of the new type is kept in step by a trigger and filled in batches; its indexes, checks and
foreign keys are built beside the old ones; then both change places in one brief transaction. The column moves
to the end of the row; everything else ends as ALTER COLUMN … TYPE leaves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.operations import replacement as beside
from lockstep.operations.replacement import Plan
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.rehearsal import Copy, rehearsal
from lockstep.postgres.session import execute
from lockstep.postgres.triggers import must_suppress_triggers
from lockstep.steps.step import Fill, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table
    from lockstep.revision.migrator import Migrator


def retype(migrator: Migrator, table: Table, column: str, trial: str, using: str | None) -> list[Step]:
    """The steps that change a column's type online.

    ``trial`` is the plain statement, aimed at the rehearsal's copy of the table; ``using`` its expression.
    Refused for what ALTER COLUMN … TYPE refuses too (views, policies, triggers and generated columns on the
    column), for partitioned tables, and for exclusion constraints.
    """
    connection = migrator.connection
    old = catalog.columns(connection, table.oid).get(column)
    if old is None:
        raise LockstepError(f"{table} has no column {column}")
    _refuse(connection, table, old)
    shadow = catalog.clip(f"lockstep_{old.number}_{column}")
    plan = Plan(locks={table.oid: table.sql})
    with rehearsal(connection, table) as copy:
        tails = _index_tails(connection, copy.oid)
        checks = _checks(connection, copy.oid)
        copy.run(trial)
        copy.run(f"ALTER TABLE {copy.sql} RENAME COLUMN {quote(column)} TO {quote(shadow)}")
        became = catalog.columns(connection, copy.oid)[shadow]
        new_tails, new_checks = _index_tails(connection, copy.oid), _checks(connection, copy.oid)
        comparable = _is_comparable(copy, table, column, old, became, using)
    identity = (
        catalog.identity_options(connection, table.oid, old.number, became.type_sql) if old.identity else ""
    )
    changed = {tails[name]: new_tails[name] for name in tails if tails[name] != new_tails[name]}
    source = f"({using})" if using else quote(column)
    missing = (
        f"{quote(shadow)} IS DISTINCT FROM {source}"
        if comparable
        else f"{quote(shadow)} IS NULL AND {source} IS NOT NULL"
    )
    plan.before += _shadow_steps(connection, table, old, became, using, missing, comparable=comparable)
    plan.before.append(
        Step(
            # Before the foreign keys: the check of their rows is a join, planned by these.
            f"{table}: statistics of the new {column}",
            sql=(f"ANALYZE {table.sql} ({quote(shadow)})",),
            kind=Kind.LONG,
            undo=(),
        )
    )
    if old.not_null:
        beside.not_null(connection, table, old, shadow, plan)
    beside.indexes_of(connection, table, changed, plan)
    for name, definition in new_checks.items():
        if checks.get(name) != definition:
            beside.check(connection, table, name, definition, plan)
    beside.foreign_keys(connection, table, old, shadow, plan)
    beside.statistics(connection, table, old, plan)
    return [*plan.before, _swap(connection, table, old, became, identity, plan)]


def _refuse(connection: Connection, table: Table, column: Column) -> None:
    if table.kind != "r" or table.inherits:
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
        )
    if column.generated:
        raise LockstepError(
            f"{table}.{column.name} is a generated column: drop it and add it with the new type"
        )


def _index_tails(connection: Connection, oid: int) -> dict[str, str]:
    """Each index's definition from USING on, by name: a change of type gives an index another oid."""
    found = catalog.rows(
        connection,
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = %(oid)s",
        oid=oid,
    )
    return {row[0]: row[1][row[1].index(" USING ") :] for row in found}


def _checks(connection: Connection, oid: int) -> dict[str, str]:
    found = catalog.rows(
        connection,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = %(oid)s AND contype = 'c' ORDER BY conname",
        oid=oid,
    )
    return {row[0]: row[1] for row in found}


def _is_comparable(
    copy: Copy, table: Table, column: str, old: Column, became: Column, using: str | None
) -> bool:
    """Whether the new type can be compared with what it is made from; asked of the copy."""
    copy.run(f"ALTER TABLE {copy.sql} ADD COLUMN {quote(column)} {old.type_sql}")
    source = f"({using})" if using else quote(column)
    execute(copy.connection, "SAVEPOINT compare")
    try:
        copy.run(
            f"SELECT FROM {copy.sql} AS {quote(table.name)} "
            f"WHERE {quote(became.name)} IS DISTINCT FROM {source}"
        )
    except DBAPIError:
        execute(copy.connection, "ROLLBACK TO SAVEPOINT compare")
        return False
    return True


def _shadow_steps(
    connection: Connection,
    table: Table,
    old: Column,
    became: Column,
    using: str | None,
    missing: str,
    *,
    comparable: bool,
) -> list[Step]:
    shadow = quote(became.name)
    function, trigger = _sync_names(table, old)
    value = (
        f"(SELECT ({using}) FROM (SELECT NEW.*) AS {quote(table.name)})"
        if using
        else f"NEW.{quote(old.name)}"
    )
    body = f"BEGIN NEW.{shadow} := {value}; RETURN NEW; END"
    # Without USING the trigger is not even called for a row that is in step already.
    when = (
        f" WHEN (NEW.{shadow} IS DISTINCT FROM NEW.{quote(old.name)})" if comparable and using is None else ""
    )
    storage = _storage(connection, table, old, became)
    return [
        Step(
            f"{table}: a shadow of {old.name} as {became.type_sql}, kept in step by a trigger",
            sql=(
                f"ALTER TABLE {table.sql} ADD COLUMN {shadow} {became.type_sql}",
                *storage,
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {literal(body)}",
                # The name sorts last: it sees what the table's own BEFORE triggers made of the row.
                f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {table.sql} "
                f"FOR EACH ROW{when} EXECUTE FUNCTION {function}()",
                f"ALTER TABLE {table.sql} ENABLE ALWAYS TRIGGER {trigger}",
            ),
            locks=((table.sql, "ACCESS EXCLUSIVE"),),
            undo=(
                f"DROP TRIGGER {trigger} ON {table.sql}",
                f"DROP FUNCTION {function}()",
                f"ALTER TABLE {table.sql} DROP COLUMN {shadow}",
            ),
        ),
        Step(
            f"{table}: fill the shadow of {old.name}",
            kind=Kind.FILL,
            fill=Fill(
                table.sql,
                f"{shadow} = {f'({using})' if using else quote(old.name)}",
                missing,
                without_triggers=must_suppress_triggers(connection, table, f"filling the new {old.name}"),
                columns=(became.name,),
                parallel=True,
            ),
            undo=(),
        ),
    ]


def _sync_names(table: Table, old: Column) -> tuple[str, str]:
    return f"lockstep.{quote(f'sync_{table.oid}_{old.number}')}", quote(f"~lockstep_{old.number}")


def _storage(connection: Connection, table: Table, old: Column, became: Column) -> list[str]:
    """Column settings that ALTER COLUMN … TYPE keeps."""
    target, storage, default_storage, options = catalog.rows(
        connection,
        """
        SELECT coalesce(a.attstattarget, -1), a.attstorage::text, t.typstorage::text, a.attoptions::text[]
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = %(oid)s AND a.attnum = %(number)s
        """,
        oid=table.oid,
        number=old.number,
    )[0]
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quote(became.name)}"
    statements = []
    if target >= 0:
        statements.append(f"{alter} SET STATISTICS {target}")
    if storage not in {default_storage, "p"}:
        words = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
        statements.append(f"{alter} SET STORAGE {words[storage]}")
    if options:
        statements.append(f"{alter} SET ({', '.join(options)})")
    return statements


def _swap(
    connection: Connection, table: Table, old: Column, became: Column, identity: str, plan: Plan
) -> Step:
    function, trigger = _sync_names(table, old)
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
    statements = [f"DROP TRIGGER {trigger} ON {table.sql}", f"DROP FUNCTION {function}()", *plan.detach]
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
            *catalog.grants(connection, literal(sequence) + "::regclass", f"SEQUENCE {sequence}"),
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
    after += catalog.column_grants(connection, table, old)
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
