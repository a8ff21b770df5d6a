"""How a downgrade keeps what it drops.

A table is moved away, stripped of everything that ties it to others; a column is copied beside its key in
batches, kept in step by a trigger until it goes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.revision.ledger import ARCHIVE_SCHEMA
from lockstep.steps.step import Copy, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.revision.migrator import Migrator


def _new_place(connection: Connection, *names: str) -> tuple[int, str]:
    number = int(catalog.scalar(connection, "SELECT nextval('lockstep.archive_id_seq')"))
    return number, catalog.clip("_".join([str(number), *names]))


def _register(
    migrator: Migrator, number: int, kind: str, table: Table, column: str | None, place: str, details: str
) -> str:
    revision = migrator.revision
    values = ", ".join(
        "NULL" if value is None else literal(value).strip()
        for value in (migrator.ledger.version_table, revision, kind, table.schema, table.name, column, place)
    )
    return (
        "INSERT INTO lockstep.archive (id, version_table, revision, kind, schema_name, table_name, "
        f"column_name, place, details, state) VALUES ({number}, {values}, {details}, 'keeping')"
    )


def _kept(number: int) -> str:
    return f"UPDATE lockstep.archive SET state = 'kept', kept_at = now() WHERE id = {number}"


def _is_own_type(connection: Connection, oid: int) -> dict[str, bool]:
    """For each column, whether its type and collation are PostgreSQL's own: keeping it ties nothing."""
    return {
        row[0]: row[1]
        for row in catalog.rows(
            connection,
            """
            SELECT a.attname, t.typnamespace = 'pg_catalog'::regnamespace
                   AND (a.attcollation = 0 OR a.attcollation < 16384)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
            """,
            oid=oid,
        )
    }


def _tried(statement: str) -> list[str]:
    """The plain statement, run and rolled back: what PostgreSQL refuses is refused at the start."""
    return ["SAVEPOINT lockstep_try", statement, "ROLLBACK TO SAVEPOINT lockstep_try"]


# -- columns --------------------------------------------------------------------------------------------


def keep_column(migrator: Migrator, table: Table, name: str, drop: list[str]) -> list[Step] | None:
    """The steps that keep a column and drop it by the statements ``drop``; None where nothing is to be kept.

    Each batch of the copy takes KEY SHARE on its rows, which only a DELETE waits for.
    """
    connection = migrator.connection
    column = catalog.columns(connection, table.oid).get(name)
    if column is None or column.generated:
        return None
    number, place = _new_place(connection, table.name, name)
    own = _is_own_type(connection, table.oid)
    key = catalog.primary_key(connection, table.oid)
    if name in key:
        key = []
    kept = f"{quote(ARCHIVE_SCHEMA)}.{quote(place)}"
    value = quote(name) if own[name] else f"{quote(name)}::text"
    keys = [quote(k) if own[k] else f"{quote(k)}::text" for k in key]
    selected = ", ".join([*(f"{k} AS k{n}" for n, k in enumerate(keys)), f"{value} AS value"])
    details = literal(json.dumps({"key": key, "type": column.type_sql})).strip()
    register = _register(migrator, number, "column", table, name, place, details)
    locks = tuple((sql, "ACCESS EXCLUSIVE") for sql in _tied(connection, table, column.number))
    said = f"{table}: keep column {name}"
    if not key:
        migrator.warn(
            f"{table} has no primary key: {name} is kept under a lock, row by row as the table lies"
        )
        whole = f"CREATE TABLE {kept} AS SELECT * FROM {table.sql}"
        return [
            Step(said, sql=(*_tried(drop[0]), register, whole, *drop, _kept(number)), locks=locks, undo=None)
        ]
    function = f"lockstep.{quote(f'keep_{number}')}"
    triggers = [quote(f"~lockstep_keep_{number}"), quote(f"~lockstep_empty_{number}")]
    return [
        Step(
            f"{said}, in step from now on",
            sql=(
                *_tried(drop[0]),
                register,
                f"CREATE TABLE {kept} AS SELECT {selected} FROM {table.sql} WITH NO DATA",
                f"ALTER TABLE {kept} ADD PRIMARY KEY ({', '.join(f'k{n}' for n in range(len(key)))})",
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
                f"SET search_path = pg_catalog AS {literal(_in_step(kept, key, own, name)).strip()}",
                f"CREATE TRIGGER {triggers[0]} AFTER INSERT OR UPDATE OR DELETE ON {table.sql} "
                f"FOR EACH ROW EXECUTE FUNCTION {function}()",
                f"CREATE TRIGGER {triggers[1]} AFTER TRUNCATE ON {table.sql} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
                *(f"ALTER TABLE {table.sql} ENABLE ALWAYS TRIGGER {trigger}" for trigger in triggers),
            ),
            locks=locks,
            undo=(),
        ),
        *(
            Step(
                f"{said}: copy {leaf}",
                kind=Kind.COPY,
                copy=Copy(
                    leaf.sql,
                    f"INSERT INTO {kept} SELECT {selected} FROM {leaf.sql} AS source WHERE {{inside}} "
                    "FOR KEY SHARE ON CONFLICT DO NOTHING",
                ),
                undo=(),
            )
            for leaf in (catalog.leaves(connection, table) if table.kind == "p" else [table])
        ),
        Step(
            f"{table}: drop column {name}",
            sql=(
                *(f"DROP TRIGGER {trigger} ON {table.sql}" for trigger in triggers),
                f"DROP FUNCTION {function}()",
                *drop,
                _kept(number),
            ),
            locks=locks,
            undo=None,
        ),
    ]


def _in_step(kept: str, key: list[str], own: dict[str, bool], name: str) -> str:
    """The body of the trigger that keeps a copied column in step with its table."""

    def of(row: str, column: str) -> str:
        return f"{row}.{quote(column)}" + ("" if own[column] else "::text")

    old = " AND ".join(f"k{n} = {of('OLD', k)}" for n, k in enumerate(key))
    moved = " OR ".join(f"{of('OLD', k)} IS DISTINCT FROM {of('NEW', k)}" for k in key)
    new = ", ".join([*(of("NEW", k) for k in key), of("NEW", name)])
    target = ", ".join(f"k{n}" for n in range(len(key)))
    return f"""
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {kept};
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM {kept} WHERE {old};
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF {moved} THEN
            DELETE FROM {kept} WHERE {old};
        END IF;
    END IF;
    INSERT INTO {kept} VALUES ({new}) ON CONFLICT ({target}) DO UPDATE SET value = excluded.value;
    RETURN NULL;
END
"""


def _tied(connection: Connection, table: Table, number: int | None = None) -> list[str]:
    """The table and those that share a foreign key with it (on that column), in the order of their oids."""
    found = catalog.rows(
        connection,
        """
        SELECT DISTINCT c.oid, format('%%I.%%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = %(oid)s OR c.oid IN (
            SELECT CASE WHEN conrelid = %(oid)s THEN confrelid ELSE conrelid END FROM pg_constraint
            WHERE contype = 'f' AND (
                conrelid = %(oid)s AND (%(number)s = 0 OR %(number)s = ANY (conkey))
             OR confrelid = %(oid)s AND (%(number)s = 0 OR %(number)s = ANY (confkey)))
        ) ORDER BY 1
        """,
        oid=table.oid,
        number=number or 0,
    )
    return [row[1] for row in found]


# -- tables ---------------------------------------------------------------------------------------------


def keep_table(migrator: Migrator, table: Table, drop: list[str]) -> list[Step]:
    """The steps that keep a table in place of the statements ``drop``: it is moved, which takes a moment.

    Takes ACCESS EXCLUSIVE on the table and on those that share a foreign key with it, as DROP TABLE does.
    """
    connection = migrator.connection
    number, place = _new_place(connection, table.name)
    locks = tuple((sql, "ACCESS EXCLUSIVE") for sql in _tied(connection, table))
    columns = catalog.columns(connection, table.oid)
    own = _is_own_type(connection, table.oid)
    sequences = {
        row[0]: row[1]
        for row in catalog.rows(
            connection,
            """
            SELECT a.attname, format('%%I.%%I', n.nspname, s.relname) FROM pg_depend d
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_namespace n ON n.oid = s.relnamespace
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = %(oid)s AND d.deptype IN ('a', 'i')
            """,
            oid=table.oid,
        )
    }
    last = ", ".join(
        f"{literal(column).strip()}, (SELECT CASE WHEN is_called THEN last_value END FROM {sequence})"
        for column, sequence in sequences.items()
    )
    types = json.dumps({c.name: c.type_sql for c in columns.values() if not c.generated})
    went_on = f"jsonb_build_object({last})"
    details = f"jsonb_build_object('types', {literal(types).strip()}::jsonb, 'sequences', {went_on})"
    register = _register(migrator, number, "table", table, None, place, details)
    kept = f"{quote(ARCHIVE_SCHEMA)}.{quote(place)}"
    said = f"{table}: keep the table"
    if table.kind != "r" or table.inherits:
        migrator.warn(f"{table} is partitioned or inherited: it is copied under a lock before it is dropped")
        selected = ", ".join(quote(c) if own[c] else f"{quote(c)}::text" for c in columns)
        copy = f"CREATE TABLE {kept} AS SELECT {selected} FROM {table.sql}"
        return [
            Step(said, sql=(*_tried(drop[0]), register, copy, *drop, _kept(number)), locks=locks, undo=None)
        ]
    steps = [
        Step(
            said,
            sql=(
                *_tried(drop[0]),
                register,
                *_stripped(connection, table, columns, sequences),
                f"ALTER TABLE {table.sql} SET SCHEMA {quote(ARCHIVE_SCHEMA)}",
                f"ALTER TABLE {quote(ARCHIVE_SCHEMA)}.{quote(table.name)} RENAME TO {quote(place)}",
                _kept(number),
            ),
            locks=locks,
            undo=None,
        )
    ]
    foreign = [c for c in columns.values() if not own[c.name] and c.generated != "v"]
    if foreign:
        alter = ", ".join(
            f'ALTER COLUMN {quote(c.name)} TYPE text COLLATE pg_catalog."default" USING {quote(c.name)}::text'
            for c in foreign
        )
        said = f"{table}: what is kept needs no types but PostgreSQL's own"
        steps.append(Step(said, sql=(f"ALTER TABLE {kept} {alter}",), kind=Kind.LONG, undo=None))
    return steps


def _stripped(
    connection: Connection,
    table: Table,
    columns: dict[str, catalog.Column],
    sequences: dict[str, str],
) -> list[str]:
    """Statements that take from a table everything but its rows."""
    alter = f"ALTER TABLE {table.sql}"
    statements = [
        row[0]
        for row in catalog.rows(
            connection,
            """
            SELECT statement FROM (
                SELECT 1, oid, format('ALTER TABLE %%s DROP CONSTRAINT %%I', %(table)s::text, conname)
                FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'f'
                UNION ALL
                SELECT 2, oid, format('ALTER TABLE %%s DROP CONSTRAINT %%I', %(table)s::text, conname)
                FROM pg_constraint WHERE conrelid = %(oid)s AND contype IN ('p', 'u', 'x', 'c')
                UNION ALL
                SELECT 3, indexrelid, format('DROP INDEX %%I.%%I', n.nspname, c.relname)
                FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE indrelid = %(oid)s AND NOT EXISTS (
                    SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
                UNION ALL
                SELECT 4, oid, format('DROP TRIGGER %%I ON %%s', tgname, %(table)s::text)
                FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
                UNION ALL
                SELECT 5, oid, format('DROP POLICY %%I ON %%s', polname, %(table)s::text)
                FROM pg_policy WHERE polrelid = %(oid)s
                UNION ALL
                SELECT 6, oid, format('DROP RULE %%I ON %%s', rulename, %(table)s::text)
                FROM pg_rewrite WHERE ev_class = %(oid)s
                UNION ALL
                SELECT 7, s.oid, format('DROP STATISTICS %%I.%%I', n.nspname, s.stxname)
                FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
                WHERE stxrelid = %(oid)s
                UNION ALL
                SELECT 8, r.oid, format('ALTER PUBLICATION %%I DROP TABLE %%s', pubname, %(table)s::text)
                FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE prrelid = %(oid)s
                UNION ALL
                SELECT DISTINCT 9, 0::oid, format('REVOKE ALL ON TABLE %%s FROM %%s', %(table)s::text,
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
                FROM pg_class, aclexplode(relacl) WHERE oid = %(oid)s AND grantee <> relowner
                UNION ALL
                SELECT DISTINCT 9, 0::oid, format('REVOKE ALL (%%I) ON TABLE %%s FROM %%s',
                       attname, %(table)s::text,
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
                FROM pg_attribute, aclexplode(attacl) WHERE attrelid = %(oid)s AND NOT attisdropped
            ) AS found (place, oid, statement) ORDER BY place, oid
            """,
            oid=table.oid,
            table=table.sql,
        )
    ]
    if catalog.scalar(
        connection,
        "SELECT relrowsecurity OR relforcerowsecurity FROM pg_class WHERE oid = %(o)s",
        o=table.oid,
    ):
        statements.append(f"{alter} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    for column in columns.values():
        name = quote(column.name)
        if column.generated == "v":
            statements.append(f"{alter} DROP COLUMN {name}")
        elif column.generated:
            statements.append(f"{alter} ALTER COLUMN {name} DROP EXPRESSION")
        elif column.identity:
            statements.append(f"{alter} ALTER COLUMN {name} DROP IDENTITY")
        elif column.default:
            statements.append(f"{alter} ALTER COLUMN {name} DROP DEFAULT")
    identities = {column.name for column in columns.values() if column.identity}
    statements += [f"DROP SEQUENCE {s}" for column, s in sequences.items() if column not in identities]
    return statements
