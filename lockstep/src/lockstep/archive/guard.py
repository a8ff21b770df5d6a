"""What was given back to a column stays until the end of the revision, whatever its own statements say.

A trigger, which sees the migrator's session only, puts a value that was given back in place of what an UPDATE
of the revision's would write over it. What people write meanwhile is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.archive.keep_column import AS_TEXT
from lockstep.archive.refused import REASON
from lockstep.archive.registry import block, given_back
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import AT_WORK
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: What has been renamed since is not found by the names that it had: let it be, see ``forget``.
_FUNCTION = """
BEGIN
    IF (SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND NOT attisdropped
        AND attname IN ({names})) < {count} THEN
        RETURN NEW;
    END IF;
    IF OLD.{column} IS NOT NULL AND EXISTS (
        SELECT FROM {kept} AS source WHERE {same} AND source.value IS NOT NULL AND source.{reason} IS NULL
    ) THEN
        NEW.{column} := OLD.{column};
    END IF;
    RETURN NEW;
END
"""

#: Only what is set aside is kept any longer. Can be run again.
_SETTLE = """
BEGIN
    IF to_regclass({name}) IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM {kept} WHERE {reason} IS NOT NULL) THEN
        DELETE FROM {kept} WHERE {reason} IS NULL;
        UPDATE lockstep.archive SET state = 'set aside' WHERE id = {id};
    ELSE
        DROP TABLE {kept};
        DELETE FROM lockstep.archive WHERE id = {id};
    END IF;
END
"""


def _trigger(kept: Kept) -> str:
    return f"~lockstep_guard_{kept.id}"


def _function(kept: Kept) -> str:
    return f"lockstep.{quote(f'guard_{kept.id}')}"


def _casts(planning: Planning, kept: Kept) -> dict[str, str]:
    """For each part of the key: what is kept as text is compared as text, by PostgreSQL's own operator."""
    oid = catalog.scalar(planning.connection, "SELECT to_regclass(%(name)s)::oid", name=kept.sql)
    there = catalog.columns(planning.connection, oid)
    key = enumerate(kept.details["key"])
    return {name: "::text" if there[f"k{n}"].type_sql == "text" else "" for n, name in key}


def guard(planning: Planning, table: Table, kept: Kept) -> Step:
    """The step that puts the trigger on, once the values are given back."""
    key: list[str] = kept.details["key"]
    cast = _casts(planning, kept)
    body = _FUNCTION.format(
        names=", ".join(literal(name) for name in [*key, str(kept.column)]), count=len(key) + 1,
        column=quote(str(kept.column)), kept=kept.sql, reason=quote(REASON),
        same=" AND ".join(f"source.k{n} = OLD.{quote(name)}{cast[name]}" for n, name in enumerate(key)),
    )  # fmt: skip
    index = quote(f"lockstep_{kept.id}_key")
    trigger = quote(_trigger(kept))
    return Step(
        f"{table}: the revision's own statements leave alone what was given back of {kept.column}",
        sql=(
            f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {kept.sql} "
            f"({', '.join(f'k{n}' for n in range(len(key)))})",
            f"CREATE OR REPLACE FUNCTION {_function(kept)}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER SET search_path = pg_catalog {AS_TEXT} AS {literal(body)}",
            f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {table.sql} FOR EACH ROW "
            f"WHEN (current_setting('{AT_WORK}', true) = 'on') EXECUTE FUNCTION {_function(kept)}()",
            f"ALTER TABLE {table.sql} ENABLE ALWAYS TRIGGER {trigger}",
        ),
        locks=((table.sql, "ACCESS EXCLUSIVE"),),
        undo=_take_off(kept, table.sql),
    )


def _take_off(kept: Kept, table: str) -> tuple[str, ...]:
    return (
        f"DROP TRIGGER IF EXISTS {quote(_trigger(kept))} ON {table}",
        f"DROP FUNCTION IF EXISTS {_function(kept)}()",
    )


def not_given_back(planning: Planning, table: Table, filled: Mapping[str, str]) -> str:
    """A condition on a row: a fill, which gives columns these expressions, would still change something of
    it. Values that were given back it leaves alone, whatever its own condition says of them. Empty where
    nothing was given back to one of the columns.
    """
    if planning.direction != "upgrade" or not planning.keeps:
        return ""
    of_revision = given_back(planning.connection, planning.version_table, planning.revision)
    here = [kept for kept in of_revision if (kept.schema, kept.table) == (table.schema, table.name)]
    held = {
        column: " OR ".join(_is_held(planning, kept) for kept in here if kept.column == column)
        for column in filled
    }
    if not any(held.values()):
        return ""
    there = catalog.columns(planning.connection, table.oid)
    changes = [f"NOT ({' OR '.join(filter(None, held.values()))})"]
    for column, expression in filled.items():
        value = f"CAST(({expression}) AS {there[column].type_sql})"
        differs = f"record_image_ne(ROW({quote(column)}), ROW({value}))"  # json has no =
        changes.append(f"NOT ({held[column]}) AND {differs}" if held[column] else differs)
    return f"({' OR '.join(changes)})"


def _is_held(planning: Planning, kept: Kept) -> str:
    cast = _casts(planning, kept)
    names = ", ".join(f"k{n} AS lockstep_k{n}" for n in range(len(cast)))  # hide no column of the row's
    same = " AND ".join(f"lockstep_k{n} = {quote(name)}{cast[name]}" for n, name in enumerate(cast))
    return (
        f"{quote(str(kept.column))} IS NOT NULL AND EXISTS (SELECT FROM (SELECT {names} FROM {kept.sql} "
        f"WHERE value IS NOT NULL AND {quote(REASON)} IS NULL) AS lockstep_kept WHERE {same})"
    )


def settle(kept: Kept) -> Step:
    """The step that forgets what was given back."""
    sql = _SETTLE.format(name=literal(kept.sql), kept=kept.sql, reason=quote(REASON), id=kept.id)
    return Step(f"{kept}: what was given back is kept no longer", sql=(block(sql),), kind=Kind.LONG, undo=())


def guarded_table(connection: Connection, kept: Kept) -> Table | None:
    """The table that has the trigger, by the name that it has by now."""
    found = catalog.rows(
        connection,
        "SELECT relname AS name, relnamespace::regnamespace::text AS schema FROM pg_trigger t "
        "JOIN pg_class c ON c.oid = t.tgrelid WHERE tgname = %(name)s AND tgparentid = 0",
        name=_trigger(kept),
    )
    return catalog.find_table(connection, found[0].name, found[0].schema) if found else None


def forget(planning: Planning, kept: Kept) -> list[Step]:
    """The steps at the end of the revision: the trigger goes, and what was given back with it.

    All of it is set aside where the revision has renamed the column: it may have written over it.
    """
    table = guarded_table(planning.connection, kept)
    there = catalog.columns(planning.connection, table.oid) if table else {}
    steps = []
    if any(name not in there for name in (*kept.details["key"], kept.column)):
        planning.warn(f"{kept} is not there any more at the end of the revision; what was kept of it stays")
        said = literal("the column is not there any more at the end of the revision")
        sql = f"UPDATE {kept.sql} SET {quote(REASON)} = {said} WHERE {quote(REASON)} IS NULL"
        steps.append(Step(f"{kept}: stays in the archive", sql=(sql,), kind=Kind.LONG, undo=()))
    if table is not None:
        off = ("SET CONSTRAINTS ALL IMMEDIATE", *_take_off(kept, table.sql))
        locks = ((table.sql, "ACCESS EXCLUSIVE"),)
        steps.append(Step(f"{kept}: the revision is through with it", sql=off, locks=locks, undo=()))
    else:
        off = (f"DROP FUNCTION IF EXISTS {_function(kept)}()",)
        steps.append(Step(f"{kept}: the revision is through with it", sql=off, undo=()))
    return [*steps, settle(kept)]


def let_go(connection: Connection, version_table: str, revision: str) -> list[str]:
    """Statements for a revision that is given up half way: what it gave back is kept as it was before."""
    statements: list[str] = []
    for kept in given_back(connection, version_table, revision):
        table = guarded_table(connection, kept)
        statements += _take_off(kept, table.sql) if table else ()
        statements.append(
            "UPDATE lockstep.archive SET state = 'kept', details = details - 'given back' "
            f"WHERE id = {kept.id}"
        )
    return statements
