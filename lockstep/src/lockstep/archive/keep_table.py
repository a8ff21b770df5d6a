"""Keeping a table that is dropped: it is moved away, stripped of everything that ties it to others.

One DO statement finds out what there is to strip once it has the lock, so it serves a downgrade, and the undo
of an upgrade's ``create_table``, which is written down long before it runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lockstep.archive import renamed
from lockstep.archive.registry import OWN_TYPE, SETTINGS, block, new_place, tied, tried
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal
from lockstep.revision.ledger import ARCHIVE_SCHEMA
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from typing import Any

    from lockstep.archive.registry import Place
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: The statements that take from the table ``kept_table`` everything but its rows, in their order. Sequences
#: go last: what was drawn from them has been written down.
_STRIP = """
SELECT statement FROM (
    SELECT 1 AS place, oid, format('ALTER TABLE %s DROP CONSTRAINT %I', kept_table, conname) AS statement
    FROM pg_constraint WHERE conrelid = kept_table AND contype = 'f'
    UNION ALL
    SELECT 2, oid, format('ALTER TABLE %s DROP CONSTRAINT %I', kept_table, conname)
    FROM pg_constraint WHERE conrelid = kept_table AND contype IN ('p', 'u', 'x', 'c')
    UNION ALL
    SELECT 3, indexrelid, format('DROP INDEX %s', indexrelid::regclass)
    FROM pg_index WHERE indrelid = kept_table AND NOT EXISTS (
        SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 4, oid, format('DROP TRIGGER %I ON %s', tgname, kept_table)
    FROM pg_trigger WHERE tgrelid = kept_table AND NOT tgisinternal
    UNION ALL
    SELECT 5, oid, format('DROP POLICY %I ON %s', polname, kept_table)
    FROM pg_policy WHERE polrelid = kept_table
    UNION ALL
    SELECT 6, oid, format('DROP RULE %I ON %s', rulename, kept_table)
    FROM pg_rewrite WHERE ev_class = kept_table
    UNION ALL
    SELECT 7, s.oid, format('DROP STATISTICS %I.%I', n.nspname, s.stxname)
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE stxrelid = kept_table
    UNION ALL
    SELECT 8, r.oid, format('ALTER PUBLICATION %I DROP TABLE %s', pubname, kept_table)
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE prrelid = kept_table
    UNION ALL
    SELECT DISTINCT 9, 0::oid, format('REVOKE ALL ON TABLE %s FROM %s CASCADE', kept_table,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
    FROM pg_class, aclexplode(relacl) WHERE oid = kept_table AND grantee <> relowner
    UNION ALL
    SELECT DISTINCT 9, 0::oid, format('REVOKE ALL (%I) ON TABLE %s FROM %s CASCADE', attname, kept_table,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
    FROM pg_attribute, aclexplode(attacl) WHERE attrelid = kept_table AND NOT attisdropped
    UNION ALL
    SELECT 10, oid, format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', kept_table)
    FROM pg_class WHERE oid = kept_table AND relrowsecurity
    UNION ALL
    SELECT 10, oid, format('ALTER TABLE %s NOT OF', kept_table)
    FROM pg_class WHERE oid = kept_table AND reloftype <> 0
    UNION ALL
    SELECT 11, attnum::oid,
           format('ALTER TABLE %s ', kept_table) || CASE
               WHEN attgenerated = 'v' THEN format('DROP COLUMN %I', attname)
               WHEN attgenerated <> '' THEN format('ALTER COLUMN %I DROP EXPRESSION', attname)
               WHEN attidentity <> '' THEN format('ALTER COLUMN %I DROP IDENTITY', attname)
               ELSE format('ALTER COLUMN %I DROP DEFAULT', attname) END
    FROM pg_attribute WHERE attrelid = kept_table AND attnum > 0 AND NOT attisdropped
      AND (atthasdef OR attidentity <> '')
    UNION ALL
    SELECT 12, d.objid, format('DROP SEQUENCE %s', d.objid::regclass)
    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = kept_table AND d.deptype = 'a'
) AS found ORDER BY place, oid
"""

#: ``{empty}``: whether a table without rows is dropped and nothing is kept.
_KEEP = """
DECLARE
    kept_table CONSTANT regclass := to_regclass({name});
    described pg_class;
    types jsonb;
    sequences jsonb := '{{}}';
    owned record;
    last bigint;
    has_rows boolean;
    selected text;
    one text;
BEGIN
    IF kept_table IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', kept_table);
    SELECT * INTO described FROM pg_class WHERE oid = kept_table;
    IF described.relforcerowsecurity THEN
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', kept_table);
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %s)', kept_table) INTO has_rows;
    IF NOT has_rows THEN
        EXECUTE {drop};
        RETURN;
    END IF;
    SELECT coalesce(jsonb_object_agg(attname, format_type(atttypid, atttypmod)), '{{}}') INTO types
    FROM pg_attribute WHERE attrelid = kept_table AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    FOR owned IN
        SELECT a.attname, d.objid::regclass AS sequence
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = kept_table AND d.deptype IN ('a', 'i')
    LOOP
        EXECUTE format('SELECT CASE WHEN is_called THEN last_value END FROM %s', owned.sequence) INTO last;
        sequences := sequences || jsonb_build_object(owned.attname, last);
    END LOOP;
    {register};
    IF described.relkind = 'r' AND NOT EXISTS (
        SELECT FROM pg_inherits WHERE inhrelid = kept_table OR inhparent = kept_table)
    THEN
        FOREACH one IN ARRAY ARRAY({strip}) LOOP
            EXECUTE one;
        END LOOP;
        EXECUTE format('ALTER TABLE %s RENAME TO %I', kept_table, {passing});
        EXECUTE format('ALTER TABLE %s SET SCHEMA {archive}', kept_table);
        EXECUTE format('ALTER TABLE %s RENAME TO %I', kept_table, {place});
    ELSE
        SELECT string_agg(quote_ident(a.attname) || CASE WHEN {own} THEN '' ELSE '::text' END, ', ')
        INTO selected FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = kept_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
        EXECUTE format('CREATE TABLE {archive}.%I AS SELECT %s FROM %s', {place}, selected, kept_table);
        EXECUTE {drop};
    END IF;
    {kept};
END
"""

#: What is kept needs no types but PostgreSQL's own. Reads and writes the whole kept table.
_PLAIN_TYPES = """
DECLARE
    changes text;
BEGIN
    SELECT string_agg(format('ALTER COLUMN %I TYPE text COLLATE pg_catalog."default" USING %1$I::text',
                             a.attname), ', ')
    INTO changes FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass({kept}) AND a.attnum > 0 AND NOT a.attisdropped AND NOT {own};
    IF changes IS NOT NULL THEN
        EXECUTE {alter} || changes;
    END IF;
END
"""


def _keep(place: Place, name: str, drop: str, names: dict[str, Any]) -> str:
    """The DO statement that keeps the table ``name``, or runs ``drop`` where it has no rows."""
    register = place.register(
        "table",
        "(SELECT nspname FROM pg_namespace WHERE oid = described.relnamespace)",
        "described.relname",
        None,
        f"jsonb_build_object('types', types, 'sequences', sequences) || {literal(json.dumps(names))}::jsonb",
    )
    return block(
        _KEEP.format(
            name=literal(name), drop=literal(drop), register=register, strip=_STRIP, archive=ARCHIVE_SCHEMA,
            place=literal(place.name), passing=literal(f"lockstep_{place.number}"), own=OWN_TYPE,
            kept=place.kept(),
        )
    )  # fmt: skip


def _plain_types(place: Place) -> str:
    return block(
        _PLAIN_TYPES.format(kept=literal(place.sql), alter=literal(f"ALTER TABLE {place.sql} "), own=OWN_TYPE)
    )


def keep_table(planning: Planning, table: Table, drop: list[str]) -> list[Step]:
    """The steps that keep a table in place of the statements ``drop``: it is moved, which takes a moment.

    Takes ACCESS EXCLUSIVE on the table and on those that share a foreign key with it, as DROP TABLE does.
    """
    place = new_place(planning, table.name)
    columns = catalog.columns(planning.connection, table.oid) if planning.touched.renames else ()
    names = renamed.details(planning, table, columns, None)
    if table.kind != "r" or catalog.inherits(planning.connection, table):
        planning.warn(f"{table} is partitioned or inherited: it is copied under a lock before it is dropped")
    return [
        Step(
            f"{table}: keep the table",
            sql=(SETTINGS, *tried(drop[0]), _keep(place, table.sql, drop[0], names)),
            locks=tied(planning.connection, table.oid),
            undo=None,
        ),
        Step(
            f"{table}: what is kept needs no types but PostgreSQL's own",
            sql=(SETTINGS, _plain_types(place), *drop[1:]),
            kind=Kind.LONG,
            undo=None,
        ),
    ]


def undo_create_table(planning: Planning, name: str) -> tuple[str, ...]:
    """Statements that drop the table ``name`` (as SQL) and keep the rows that it has by then.

    ACCESS EXCLUSIVE on the table; where it has columns of types that are not PostgreSQL's own, for as long as
    it takes to write their values as text.
    """
    place = new_place(planning, name.replace('"', "").rpartition(".")[2])
    drop = f"DROP TABLE IF EXISTS {name}"
    return (SETTINGS, *tried(drop), _keep(place, name, drop, renamed.undone(planning)), _plain_types(place))
