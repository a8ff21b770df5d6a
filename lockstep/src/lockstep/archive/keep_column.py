"""Keeping a column that is dropped: it is copied beside its key in batches, kept in step by a trigger."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lockstep.archive import renamed
from lockstep.archive.registry import KEYS, OWN_TYPE, SETTINGS, Place, new_place, row_key, tied, tried
from lockstep.archive.registry import block as do_block
from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.step import INSIDE, UNFILLED, Copy, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: What the trigger does that keeps a copied column in step with its table.
_IN_STEP = """
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

#: Foreign keys of a table, those of one name or those that one column has a part in.
_PARENTS = """
SELECT k.conname AS name, n.nspname AS schema, c.relname AS "table",
       format('%%I.%%I', n.nspname, c.relname) AS parent,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, p)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p) AS ours,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, p)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY p) AS theirs
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = %(oid)s AND k.conparentid = 0
  AND (%(number)s = ANY (k.conkey) OR k.conname = %(name)s)
"""


@dataclass(frozen=True)
class _Column:
    """A column on its way into the archive."""

    table: Table
    name: str
    place: Place
    key: tuple[str, ...]
    own: dict[str, bool]
    details: str
    only: str = ""
    """A condition on the rows of ``source`` whose value is copied; what is written later is kept anyway."""

    @property
    def function(self) -> str:
        return f"lockstep.{quote(f'keep_{self.place.number}')}"

    @property
    def triggers(self) -> list[str]:
        return [quote(f"~lockstep_{what}_{self.place.number}") for what in ("keep", "empty")]

    def of(self, row: str, column: str) -> str:
        return f"{row}.{quote(column)}" + ("" if self.own[column] else "::text")

    def selected(self) -> str:
        keys = (f"{self.of('source', k)} AS k{n}" for n, k in enumerate(self.key))
        return ", ".join([*keys, f"{self.of('source', self.name)} AS value"])

    def register(self) -> str:
        schema, table = literal(self.table.schema), literal(self.table.name)
        return self.place.register("column", schema, table, self.name, self.details)

    def begin(self) -> list[str]:
        """Statements that can be run again."""
        table, kept = self.table.sql, self.place.sql
        index = quote(f"lockstep_{self.place.number}_key")
        return [
            SETTINGS,
            self.register(),
            f"CREATE TABLE IF NOT EXISTS {kept} AS SELECT {self.selected()} FROM {table} AS source "
            "WITH NO DATA",
            f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {kept} "
            f"({', '.join(f'k{n}' for n in range(len(self.key)))})",
            f"CREATE OR REPLACE FUNCTION {self.function}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER SET search_path = pg_catalog {AS_TEXT} AS {literal(self._in_step())}",
            f"CREATE OR REPLACE TRIGGER {self.triggers[0]} AFTER INSERT OR UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {self.function}()",
            f"CREATE OR REPLACE TRIGGER {self.triggers[1]} AFTER TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {self.function}()",
            *(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}" for trigger in self.triggers),
        ]

    def _in_step(self) -> str:
        return _IN_STEP.format(
            kept=self.place.sql,
            old=" AND ".join(f"k{n} = {self.of('OLD', k)}" for n, k in enumerate(self.key)),
            moved=" OR ".join(f"{self.of('OLD', k)} IS DISTINCT FROM {self.of('NEW', k)}" for k in self.key),
            new=", ".join([*(self.of("NEW", k) for k in self.key), self.of("NEW", self.name)]),
            target=", ".join(f"k{n}" for n in range(len(self.key))),
        )

    def copies(self, connection: Connection, said: str) -> list[Step]:
        """Each batch takes KEY SHARE on its rows, which only a DELETE waits for."""
        leaves = catalog.leaves(connection, self.table) if self.table.kind == "p" else [self.table]
        only = f" AND ({self.only}) {UNFILLED}" if self.only else ""
        return [
            Step(
                f"{said}: copy {leaf}",
                kind=Kind.COPY,
                copy=Copy(
                    leaf.sql,
                    f"INSERT INTO {self.place.sql} SELECT {self.selected()} FROM {leaf.sql} AS source "
                    f"WHERE {INSIDE}{only} FOR KEY SHARE ON CONFLICT DO NOTHING",
                    written=self.name if self.only else "",
                ),
                undo=(),
            )
            for leaf in leaves
        ]

    def end(self, drop: list[str]) -> list[str]:
        table = self.table.sql
        return [
            *(f"DROP TRIGGER IF EXISTS {trigger} ON {table}" for trigger in self.triggers),
            f"DROP FUNCTION IF EXISTS {self.function}()",
            *drop,
            self.settle(),
        ]

    def under_a_lock(self, drop: list[str]) -> list[str]:
        """In one transaction; without a key, whole rows are copied as they lie."""
        every = ", ".join(f"{self.of('source', name)} AS {quote(name)}" for name in self.own)
        selected = self.selected() if self.key else every
        where = f" WHERE {self.only}" if self.only else ""
        return [
            SETTINGS,
            f"LOCK TABLE {self.table.sql} IN ACCESS EXCLUSIVE MODE",
            self.register(),
            f"CREATE TABLE {self.place.sql} AS SELECT {selected} FROM {self.table.sql} AS source{where}",
            *drop,
            self.settle(),
        ]

    def settle(self) -> str:
        """Kept, or forgotten where there is nothing to keep."""
        return do_block(
            f"BEGIN IF EXISTS (SELECT FROM {self.place.sql}) THEN {self.place.kept()}; ELSE "
            f"DROP TABLE {self.place.sql}; DELETE FROM lockstep.archive WHERE id = {self.place.number}; "
            "END IF; END"
        )


#: For a function's settings: values that it writes as text are read again as the same values.
AS_TEXT = " ".join(
    f"SET {name} = '{value}'"
    for name, value in {
        "datestyle": "ISO, YMD", "intervalstyle": "postgres", "extra_float_digits": "1",
        "bytea_output": "hex", "lc_monetary": "C",
    }.items()
)  # fmt: skip


def keep_column(planning: Planning, table: Table, name: str, drop: list[str]) -> list[Step] | None:
    """The steps that keep a column and drop it by the statements ``drop``; None where nothing is kept."""
    connection = planning.connection
    column = catalog.columns(connection, table.oid).get(name)
    if column is None or column.generated:
        return None
    _refuse_hidden_rows(connection, table, name)
    key, own = row_key(connection, table.oid, name)
    kept = _Column(
        table, name, new_place(planning, table.name, name), key, own,
        _details(planning, table, key, column),
    )  # fmt: skip
    locks = tied(connection, table.oid, column.number)
    said = f"{table}: keep column {name}"
    if not key:
        planning.warn(
            f"{table} has no key to find its rows by: {name} is kept under a lock, with the rest of its row, "
            f"and will not be given back by itself when the revision runs up again"
        )
        return [Step(said, sql=(*tried(drop[0]), *kept.under_a_lock(drop)), locks=locks, undo=None)]
    begin = (*tried(drop[0]), *kept.begin())
    return [
        Step(f"{said}, in step from now on", sql=begin, locks=locks, undo=None),
        *(replace(step, undo=None) for step in kept.copies(connection, said)),
        Step(f"{table}: drop column {name}", sql=tuple(kept.end(drop)), locks=locks, undo=None),
    ]


def _details(planning: Planning, table: Table, key: tuple[str, ...], column: catalog.Column) -> str:
    there = catalog.columns(planning.connection, table.oid)
    now = {name: here for here, name in renamed.columns_before(planning, table, there).items()}
    unlinked = [
        parent | {"ours": [now.get(name, name) for name in parent["ours"]]}
        for (oid, _), parent in planning.touched.unlinked.items()
        if oid == table.oid
    ]
    parents = [
        *_referred(planning, table, number=column.number).values(),
        *(parent for parent in unlinked if column.name in parent["ours"]),
    ]
    found = {"key": key, "type": column.type_sql, "parents": parents, "unsure": planning.touched.continued}
    return literal(json.dumps(found | renamed.details(planning, table, key, column.name)))


def _referred(
    planning: Planning, table: Table, *, name: str = "", number: int = 0
) -> dict[str, dict[str, Any]]:
    """What foreign keys refer to, by their names."""
    return {
        row.name: {
            "parent": row.parent, "table": [row.schema, row.table],
            "end": renamed.before(planning, (row.schema, row.table, None))[:2],
            "ours": list(row.ours), "theirs": list(row.theirs),
        }
        for row in catalog.rows(planning.connection, _PARENTS, oid=table.oid, number=number, name=name)
    }  # fmt: skip


def note_unlinked(planning: Planning, table: Table, name: str) -> None:
    """A foreign key is dropped: what its columns refer to, should this downgrade keep them later."""
    for found, parent in _referred(planning, table, name=name).items():
        ours = renamed.columns_before(planning, table, parent["ours"])
        planning.touched.unlinked[table.oid, found] = parent | {"ours": list(ours.values())}


def _refuse_hidden_rows(connection: Connection, table: Table, name: str) -> None:
    if catalog.scalar(connection, "SELECT row_security_active(%(oid)s::oid)", oid=table.oid):
        user = catalog.scalar(connection, "SELECT current_user")
        raise LockstepError(
            f"{table} forces row security on {user}, so {name} cannot be kept of the rows that a policy "
            "hides: migrate as a role with BYPASSRLS, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY first"
        )


def undo_add_column(
    planning: Planning, table: Table, name: str, unchanged: list[str]
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """What takes a new column away again and keeps what people wrote into it: steps that can be run again,
    and the statements that follow them.

    ``unchanged`` are SQL expressions of what the revision itself puts into a row: such a value is not kept.
    Where there is none, NULL is not; beside a default it is, since somebody has written it.
    """
    kept = _undone(planning, table, name, unchanged)
    drop = [f"ALTER TABLE {table.sql} DROP COLUMN IF EXISTS {quote(name)}"]
    if not kept.key:
        return (), tuple(kept.under_a_lock(drop))
    said = f"{table}: keep what was written into {name}"
    locks = ((table.sql, "ACCESS EXCLUSIVE"),)
    begin = Step(f"{said}, in step from now on", sql=tuple(kept.begin()), locks=locks, undo=())
    return (begin, *kept.copies(planning.connection, said)), tuple(kept.end(drop))


#: As ``_Column.under_a_lock``, with the key that the table has by then: most revisions are never taken back,
#: and need not ask for it.
_AT_ONCE = """
DECLARE
    lockstep_key text[];
    lockstep_selected text;
BEGIN
    SELECT columns INTO lockstep_key FROM ({keys}) found WHERE NOT {name} = ANY (columns) LIMIT 1;
    SELECT string_agg(
        format('source.%I%s AS %I', a.attname,
               CASE WHEN {own} AND a.attname <> {name} THEN '' ELSE '::text' END,
               CASE WHEN lockstep_key IS NULL THEN a.attname WHEN a.attname = {name} THEN 'value'
                    ELSE 'k' || array_position(lockstep_key, a.attname::text) - 1 END),
        ', ' ORDER BY array_position(lockstep_key, a.attname::text), a.attnum)
    INTO lockstep_selected FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = {table}::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND (lockstep_key IS NULL OR a.attname = ANY (lockstep_key || {name}));
    {register};
    EXECUTE 'CREATE TABLE ' || {kept} || ' AS SELECT ' || lockstep_selected || {rows};
END
"""


def undo_add_column_at_once(
    planning: Planning, table: Table, name: str, *, nulls: bool = False
) -> tuple[str, ...]:
    """As ``undo_add_column``, in one transaction: for a table that had no rows when the column was added.

    ``nulls``: NULL is kept as well, as beside a default it was written by somebody.
    """
    details = _undone_details(planning, table, name, "coalesce(to_jsonb(lockstep_key), '[]')")
    place = new_place(planning, table.name, name)
    undone = _Column(table, name, place, (), {}, details)
    body = _AT_ONCE.format(
        keys=KEYS % {"oid": f"{literal(table.sql)}::regclass"}, own=OWN_TYPE,
        name=f"{literal(name)}::text", table=literal(table.sql), kept=literal(place.sql),
        register=undone.register(),
        rows=literal(
            f" FROM {table.sql} AS source"
            + ("" if nulls else f" WHERE source.{quote(name)}::text IS NOT NULL")
        ),
    )  # fmt: skip
    return (
        SETTINGS,
        f"LOCK TABLE {table.sql} IN ACCESS EXCLUSIVE MODE",
        do_block(body),
        f"ALTER TABLE {table.sql} DROP COLUMN IF EXISTS {quote(name)}",
        undone.settle(),
    )


def _undone_details(planning: Planning, table: Table, name: str, key: str) -> str:
    """The column is not there yet; what type it has by then, the catalog says."""
    undone = literal(json.dumps(renamed.undone(planning)))
    return (
        f"(SELECT jsonb_build_object('key', {key}, 'type', format_type(atttypid, atttypmod), "
        f"'column', ARRAY[attrelid::bigint, attnum]) || {undone}::jsonb "
        f"FROM pg_attribute WHERE attrelid = {literal(table.sql)}::regclass AND attname = {literal(name)})"
    )


def _undone(planning: Planning, table: Table, name: str, unchanged: list[str]) -> _Column:
    key, own = row_key(planning.connection, table.oid, name)
    value = f"source.{quote(name)}::text"
    only = " AND ".join(f"{value} IS DISTINCT FROM ({one})::text" for one in unchanged or ["NULL"])
    details = _undone_details(planning, table, name, f"{literal(json.dumps(key))}::jsonb")
    place = new_place(planning, table.name, name)
    return _Column(table, name, place, key, own | {name: False}, details, only)
