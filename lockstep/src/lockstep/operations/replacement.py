"""What is built beside a column that another is to take the place of.

Its indexes, checks and statistics, made and valid before the swap; the statements of the swap are collected
on the way.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.operations.column_parts import statistics_parts
from lockstep.operations.index_build import build
from lockstep.operations.validation import added_and_validated
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import execute

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.steps.step import Step


@dataclass
class Plan:
    """What is built before the swap, and the statements of the swap, in its order."""

    before: list[Step] = field(default_factory=list)
    detach: list[str] = field(default_factory=list)
    attach: list[str] = field(default_factory=list)
    locks: dict[int, str] = field(default_factory=dict)


def is_valid_not_null(connection: Connection, table: Table, column: Column) -> bool:
    """Whether no row has NULL in the column: 18 has NOT NULL … NOT VALID."""
    return column.not_null and not catalog.scalar(
        connection,
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'n' "
        "AND conkey = ARRAY[%(number)s]::int2[] AND NOT convalidated)",
        oid=table.oid,
        number=column.number,
    )


def not_null(connection: Connection, table: Table, old: Column, shadow: str, plan: Plan) -> None:
    name = catalog.clip(f"{shadow}_not_null")
    valid = True
    if catalog.server_version(connection) >= 18:
        original, valid, only_here, comment = catalog.rows(
            connection,
            "SELECT conname, convalidated, connoinherit, obj_description(oid, 'pg_constraint') "
            "FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'n' "
            "AND conkey = ARRAY[%(number)s]::int2[]",
            oid=table.oid,
            number=old.number,
        )[0]
        no_inherit = " NO INHERIT" if only_here else ""
        add = f"ADD CONSTRAINT {quote(name)} NOT NULL {quote(shadow)}{no_inherit} NOT VALID"
        plan.attach.append(f"ALTER TABLE {table.sql} RENAME CONSTRAINT {quote(name)} TO {quote(original)}")
        if comment:
            plan.attach.append(
                f"COMMENT ON CONSTRAINT {quote(original)} ON {table.sql} IS {literal(comment)}"
            )
    else:
        add = f"ADD CONSTRAINT {quote(name)} CHECK ({quote(shadow)} IS NOT NULL) NOT VALID"
        plan.detach += [
            f"ALTER TABLE {table.sql} ALTER COLUMN {quote(shadow)} SET NOT NULL",
            f"ALTER TABLE {table.sql} DROP CONSTRAINT {quote(name)}",
        ]
    plan.before.append(
        added_and_validated(
            table.sql,
            f"{table}: the shadow of {old.name} is not null",
            name,
            f"ALTER TABLE {table.sql} {add}",
            refusal=f'column "{old.name}" of relation "{table.name}" contains null values',
            validates=valid,
        )
    )


def indexes_of(
    connection: Connection,
    table: Table,
    old: Column,
    shadow: str,
    changed: dict[str, str],
    twins: dict[str, str],
    plan: Plan,
) -> None:
    """Build the changed ones; ``twins`` finds what a unique one would have more than once.

    A column's name in an index is its own: psql shows it of the index.
    """
    found = catalog.rows(
        connection,
        """
        SELECT i.indexrelid, c.relname, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisclustered,
               i.indisreplident, s.spcname, obj_description(i.indexrelid, 'pg_class'),
               k.conname, k.contype::text, k.condeferrable, k.condeferred,
               obj_description(k.oid, 'pg_constraint'), i.indpred IS NOT NULL,
               (SELECT count(*) FILTER (WHERE key = %(number)s) = 1
                       AND count(*) FILTER (WHERE key <> %(number)s
                                            AND coalesce(a.attname, mine.attname) = %(column)s) = 0
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(key, place)
                JOIN pg_attribute mine ON mine.attrelid = i.indexrelid AND mine.attnum = place
                LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                                 AND k.contype IN ('p', 'u')
        WHERE i.indrelid = %(oid)s AND i.indisvalid ORDER BY i.indexrelid
        """,
        oid=table.oid,
        number=old.number,
        column=old.name,
    )
    for row in found:
        (
            oid,
            name,
            definition,
            unique,
            clustered,
            identifies,
            space,
            comment,
            *constraint,
            predicate,
            named,
        ) = row
        tail = definition[definition.index(" USING ") :]
        if tail not in changed:
            continue
        temporary = catalog.clip(f"lockstep_{oid}_{name}")
        create = f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {quote(temporary)} ON {table.sql}"
        at = f" TABLESPACE {quote(space)}" if space else ""
        new_tail, where = changed[tail], ""
        if at and predicate:
            new_tail, word, rest = new_tail.partition(" WHERE ")
            where = word + rest
        plan.before.append(
            build(
                table,
                temporary,
                f"{create}{new_tail}{at}{where}",
                offenders=twins.get(name),
                refusal=f'could not create unique index "{name}" on the new type: values are there twice',
            )
        )
        qualified = f"{quote(table.schema)}.{quote(name)}"
        conname, contype, deferrable, deferred, con_comment = constraint
        if conname:
            words = "PRIMARY KEY" if contype == "p" else "UNIQUE"
            timing = (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if deferred else "")
            plan.attach.append(
                f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(conname)} {words} "
                f"USING INDEX {quote(temporary)}{timing}"
            )
            if con_comment:
                plan.attach.append(
                    f"COMMENT ON CONSTRAINT {quote(conname)} ON {table.sql} IS {literal(con_comment)}"
                )
        else:
            plan.attach.append(
                f"ALTER INDEX {quote(table.schema)}.{quote(temporary)} RENAME TO {quote(name)}"
            )
        if named:
            plan.attach.append(f"ALTER TABLE {qualified} RENAME COLUMN {quote(shadow)} TO {quote(old.name)}")
        if clustered:
            plan.attach.append(f"ALTER TABLE {table.sql} CLUSTER ON {quote(name)}")
        if identifies:
            plan.attach.append(f"ALTER TABLE {table.sql} REPLICA IDENTITY USING INDEX {quote(name)}")
        if comment:
            plan.attach.append(f"COMMENT ON INDEX {qualified} IS {literal(comment)}")


def check(connection: Connection, table: Table, name: str, definition: str, plan: Plan) -> None:
    valid, comment = catalog.rows(
        connection,
        "SELECT convalidated, obj_description(oid, 'pg_constraint') FROM pg_constraint "
        "WHERE conrelid = %(oid)s AND conname = %(name)s",
        oid=table.oid,
        name=name,
    )[0]
    temporary = catalog.clip(f"lockstep_{name}")
    enforced = not definition.endswith(" NOT ENFORCED")
    plain = definition.removesuffix(" NOT VALID") + (" NOT VALID" if enforced else "")
    plan.before.append(
        added_and_validated(
            table.sql,
            f"{table}: check {name} on the new type",
            temporary,
            f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(temporary)} {plain}",
            refusal=f'check constraint "{name}" of relation "{table.name}" is violated by some row',
            validates=valid,
        )
    )
    plan.attach.append(f"ALTER TABLE {table.sql} RENAME CONSTRAINT {quote(temporary)} TO {quote(name)}")
    if comment:
        plan.attach.append(f"COMMENT ON CONSTRAINT {quote(name)} ON {table.sql} IS {literal(comment)}")


def kept_owners(copy: Copy, table: Table) -> dict[str, str]:
    """Whose the table's extended statistics stay where they are somebody else's: PostgreSQL lets them have
    their owner when a type changes, or not, by its minor release, so it is tried.
    """
    connection = copy.connection
    owners = {
        row.name: row.owner
        for row in catalog.rows(
            connection,
            "SELECT format('%%I.%%I', stxnamespace::regnamespace, stxname) AS name, "
            "stxowner::regrole::text AS owner FROM pg_statistic_ext "
            "WHERE stxrelid = %(oid)s AND pg_get_userbyid(stxowner) <> current_user",
            oid=table.oid,
        )
    }
    if not owners:
        return {}
    execute(connection, "SAVEPOINT owners")
    with suppress(DBAPIError):  # who may not give them away cannot be asked to keep them either
        for statement in (
            "CREATE TEMPORARY TABLE lockstep_owned (a integer, b integer)",
            "CREATE STATISTICS pg_temp.lockstep_owned ON a, b FROM lockstep_owned",
            f"ALTER STATISTICS pg_temp.lockstep_owned OWNER TO {next(iter(owners.values()))}",
            "ALTER TABLE lockstep_owned ALTER a TYPE bigint",
        ):
            copy.run(statement)
        if not catalog.scalar(
            connection,
            "SELECT pg_get_userbyid(stxowner) = current_user FROM pg_statistic_ext "
            "WHERE stxname = 'lockstep_owned'",
        ):
            return owners
    execute(connection, "ROLLBACK TO SAVEPOINT owners")
    return {}


def statistics(
    connection: Connection,
    table: Table,
    old: Column,
    changed: dict[str, str],
    owners: dict[str, str],
    plan: Plan,
) -> None:
    """Extended statistics go with the column; they are made again (without their target, as ALTER COLUMN …
    TYPE does it).
    """
    for name, definition, comment in catalog.rows(
        connection,
        """
        SELECT format('%%I.%%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid),
               obj_description(s.oid, 'pg_statistic_ext')
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid
              AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s AND d.refobjsubid = %(number)s)
        ORDER BY s.oid
        """,
        oid=table.oid,
        number=old.number,
    ):
        head, tail = statistics_parts(definition)
        plan.detach += [f"DROP STATISTICS {name}", f"{head}{changed.get(tail, tail)} FROM {table.sql}"]
        if comment:
            plan.attach.append(f"COMMENT ON STATISTICS {name} IS {literal(comment)}")
        if name in owners:
            plan.attach.append(f"ALTER STATISTICS {name} OWNER TO {owners[name]}")
