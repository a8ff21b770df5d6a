"""What was given back to a column stays until the end of the revision, whatever its own statements say.

A trigger, which sees the migrator's session only, puts a value that was given back in place of what an UPDATE
of the revision's would write over it. What people write meanwhile is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.archive.keep_column import AS_TEXT
from lockstep.archive.refused import REASON
from lockstep.archive.registry import block, given_back
from lockstep.archive.renamed import at_end, now
from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.functions import is_volatile
from lockstep.postgres.session import AT_WORK
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: The key and the column, the last one, are known by their numbers in the table ``{relation}``: the revision
#: may have renamed them since; then the row is put together by the names that they have by now. What is gone
#: by number is taken by its name (another type); what is gone altogether is let be, see ``forget``.
_FUNCTION = """
DECLARE
    numbers CONSTANT smallint[] := {numbers};
    names CONSTANT name[] := {names};
    now_names name[];
    same text;
    parts text;
BEGIN
    SELECT array_agg(coalesce(attname, names[place]) ORDER BY place) INTO now_names
    FROM unnest(numbers) WITH ORDINALITY u(number, place) LEFT JOIN pg_attribute
        ON attrelid = {relation} AND attnum = number AND NOT attisdropped;
    IF (SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND NOT attisdropped
        AND attname = ANY (now_names)) < cardinality(names) THEN
        RETURN NEW;
    END IF;
    IF now_names <> names THEN
        SELECT string_agg(format('source.k%s = ($1).%I%s', place - 1, one, ({casts})[place]), ' AND ')
        INTO same FROM unnest(now_names) WITH ORDINALITY u(one, place) WHERE place < cardinality(names);
        SELECT string_agg(
            CASE WHEN attname = now_names[cardinality(names)] THEN format(
                'CASE WHEN ($1).%1$I IS NOT NULL AND EXISTS (SELECT FROM %3$s AS source WHERE %2$s AND '
                'source.value IS NOT NULL AND source.{reason} IS NULL) THEN ($1).%1$I ELSE ($2).%1$I END',
                attname, same, {place})
            ELSE format('($2).%I', attname) END, ', ' ORDER BY attnum)
        INTO parts FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped;
        EXECUTE 'SELECT ' || parts INTO NEW USING OLD, NEW;
    ELSIF OLD.{column} IS NOT NULL AND EXISTS (
        SELECT FROM {kept} AS source WHERE {same} AND source.value IS NOT NULL AND source.{reason} IS NULL
    ) THEN
        NEW.{column} := OLD.{column};
    END IF;
    RETURN NEW;
END
"""

#: The numbers are known once the column is there.
_CREATE = """
BEGIN
    EXECUTE replace(replace({create}, '{{relation}}', {table}::regclass::oid::text), '{{numbers}}', (
        SELECT 'ARRAY[' || string_agg(number, ',' ORDER BY nth) || ']'
        FROM lockstep.archive, jsonb_array_elements_text(details -> 'numbers')
            WITH ORDINALITY u(number, nth)
        WHERE id = {id}));
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


def _casts(planning: Planning, kept: Kept) -> list[str]:
    """For each part of the key: what is kept as text is compared as text, by PostgreSQL's own operator."""
    oid = catalog.scalar(planning.connection, "SELECT to_regclass(%(name)s)::oid", name=kept.sql)
    there = catalog.columns(planning.connection, oid)
    return ["::text" if there[f"k{n}"].type_sql == "text" else "" for n in range(len(kept.details["key"]))]


def guard(planning: Planning, table: Table, kept: Kept, names: tuple[Sequence[str], str]) -> Step:
    """The step that puts the trigger on, once the values are given back. ``names``: of the key and of the
    column, as they are now.
    """
    key, column = names
    casts = _casts(planning, kept)
    body = _FUNCTION.format(
        names=_array([*key, column]), casts=f"{_array(casts)}::text[]", column=quote(column), kept=kept.sql,
        place=literal(kept.sql), reason=quote(REASON), numbers="{numbers}", relation="{relation}",
        same=" AND ".join(f"source.k{n} = OLD.{quote(name)}{casts[n]}" for n, name in enumerate(key)),
    )  # fmt: skip
    create = (
        f"CREATE OR REPLACE FUNCTION {_function(kept)}() RETURNS trigger LANGUAGE plpgsql "
        f"SECURITY DEFINER SET search_path = pg_catalog {AS_TEXT} AS {literal(body)}"
    )
    index = quote(f"lockstep_{kept.id}_key")
    trigger = quote(_trigger(kept))
    return Step(
        f"{table}: the revision's own statements leave alone what was given back of {column}",
        sql=(
            f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {kept.sql} "
            f"({', '.join(f'k{n}' for n in range(len(key)))})",
            block(_CREATE.format(create=literal(create), table=literal(table.sql), id=kept.id)),
            f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {table.sql} FOR EACH ROW "
            f"WHEN (current_setting('{AT_WORK}', true) = 'on') EXECUTE FUNCTION {_function(kept)}()",
            f"ALTER TABLE {table.sql} ENABLE ALWAYS TRIGGER {trigger}",
        ),
        locks=((table.sql, "ACCESS EXCLUSIVE"),),
        undo=_take_off(kept, table.sql),
    )


def _array(values: Sequence[str]) -> str:
    return f"ARRAY[{', '.join(literal(one) for one in values)}]"


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
    here = []
    for kept in of_revision:
        guarded = guarded_table(planning.connection, kept)
        if guarded and guarded.oid == table.oid and (found := now(planning.connection, table, kept)):
            here.append((kept, found))
    held = {
        column: " OR ".join(_is_held(planning, kept, names) for kept, names in here if names[1] == column)
        for column in filled
    }
    if not any(held.values()):
        return ""
    there = catalog.columns(planning.connection, table.oid)
    changes = [f"NOT ({' OR '.join(filter(None, held.values()))})"]
    for column, expression in filled.items():
        value = f"CAST(({expression}) AS {there[column].type_sql})"
        differs = f"record_image_ne(ROW({quote(column)}), ROW({value}))"  # json has no =
        if is_volatile(planning.connection, expression):
            differs = "true"
        changes.append(f"NOT ({held[column]}) AND {differs}" if held[column] else differs)
    return f"({' OR '.join(changes)})"


def _is_held(planning: Planning, kept: Kept, now_names: tuple[Sequence[str], str]) -> str:
    key, column = now_names
    casts = _casts(planning, kept)
    names = ", ".join(f"k{n} AS lockstep_k{n}" for n in range(len(key)))  # hide no column of the row's
    same = " AND ".join(f"lockstep_k{n} = {quote(name)}{casts[n]}" for n, name in enumerate(key))
    return (
        f"{quote(column)} IS NOT NULL AND EXISTS (SELECT FROM (SELECT {names} FROM {kept.sql} "
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

    All of it is set aside where the column is gone. Raises LockstepError where another one has its name: the
    downgrade did not go the way of the upgrade back, and the values belong there.
    """
    table = guarded_table(planning.connection, kept)
    found = now(planning.connection, table, kept) if table else None
    steps = []
    if table and found and "after" not in kept.details and "names" in kept.details:
        _refuse_another(planning, table, kept, found[1])
    if found is None:
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


def _refuse_another(planning: Planning, table: Table, kept: Kept, name: str) -> None:
    meant = at_end(planning, kept)[2]
    if meant != name and meant in catalog.columns(planning.connection, table.oid):
        raise LockstepError(
            f"what was kept of {kept} was given back to the column that is {name} now, and another one is "
            f"{meant}: let downgrade() drop and rename in the order in which upgrade() adds and renames, the "
            "last first; or remove what is kept with `lockstep archive purge`"
        )


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
