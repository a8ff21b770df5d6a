"""What goes before a table or a column does: its foreign keys, each in its own step, and a column's indexes.

So the drop itself locks no other table, and has next to nothing to remove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.operations.drop_index import Index, drop_concurrently
from lockstep.operations.validation import drop_constraint_sql
from lockstep.postgres import catalog
from lockstep.postgres.catalog import quote
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table

#: What plain Alembic's DROP is refused for: then nothing is taken away before it.
_IS_NEEDED = """
SELECT EXISTS (
    SELECT FROM pg_depend d WHERE refclassid = 'pg_class'::regclass AND refobjid = %(oid)s AND deptype = 'n'
      AND (%(number)s = 0 OR refobjsubid IN (0, %(number)s))
      AND (classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
        OR classid = 'pg_constraint'::regclass AND EXISTS (
            SELECT FROM pg_constraint k WHERE k.oid = d.objid AND k.conrelid <> %(oid)s))
) OR %(number)s = 0 AND EXISTS (
    SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = %(oid)s
    WHERE a.atttypid = c.reltype OR a.atttypid = (SELECT typarray FROM pg_type t WHERE t.oid = c.reltype))
"""

_FOREIGN_KEYS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS definition, convalidated AS is_valid,
       confrelid::regclass::text AS referred
FROM pg_constraint
WHERE conrelid = %(oid)s AND contype = 'f' AND conparentid = 0 AND confrelid <> conrelid
  AND (%(number)s = 0 OR %(number)s = ANY (conkey))
ORDER BY oid
"""

_INDEXES_OF_COLUMN = """
SELECT DISTINCT n.nspname AS schema, c.relname AS name, pg_get_indexdef(c.oid) AS definition,
       obj_description(c.oid, 'pg_class') AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = %(number)s
WHERE i.indrelid = %(oid)s AND i.indisvalid AND NOT i.indisreplident AND NOT i.indisclustered
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid)
ORDER BY 2
"""


def before_drop(connection: Connection, table: Table, column: str | None = None) -> list[Step]:
    """The steps that take away what a drop would lock or remove; each can be taken back.

    Empty where PostgreSQL will refuse the drop, and for partitioned and inherited tables.
    """
    number = 0
    if column is not None:
        found = catalog.columns(connection, table.oid).get(column)
        if found is None:
            return []
        number = found.number
    if (
        table.kind != "r"
        or catalog.inherits(connection, table)
        or catalog.scalar(connection, _IS_NEEDED, oid=table.oid, number=number)
    ):
        return []
    steps: list[Step] = []
    for key in catalog.rows(connection, _FOREIGN_KEYS, oid=table.oid, number=number):
        steps += _without_foreign_key(table, key.name, key.definition, key.referred, is_valid=key.is_valid)
    if column is not None:
        steps += [
            drop_concurrently(Index(table, index.name, index.definition, index.comment))
            for index in catalog.rows(connection, _INDEXES_OF_COLUMN, oid=table.oid, number=number)
        ]
    return steps


def _without_foreign_key(
    table: Table, name: str, definition: str, referred: str, *, is_valid: bool
) -> list[Step]:
    """Drop a foreign key. Taken back in two: NOT VALID in a moment, then, outside of it, validated."""
    alter = f"ALTER TABLE {table.sql}"
    steps = []
    if is_valid:
        steps.append(
            Step(
                f"{table}: foreign key {name} is valid",
                kind=Kind.OUTSIDE,
                undo=(f"{alter} VALIDATE CONSTRAINT {quote(name)}",),
            )
        )
    add = f"{alter} ADD CONSTRAINT {quote(name)} {definition.removesuffix(' NOT VALID')} NOT VALID"
    steps.append(
        Step(
            f"{table}: drop foreign key {name}",
            sql=(drop_constraint_sql(table.sql, name),),
            locks=((table.sql, "ACCESS EXCLUSIVE"), (referred, "ACCESS EXCLUSIVE")),
            undo=(drop_constraint_sql(table.sql, name), add),
        )
    )
    return steps
