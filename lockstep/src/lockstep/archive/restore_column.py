"""Giving back the values of a column that a downgrade dropped, right after the upgrade has added it again, or
at the end of the revision where they refer to rows that come back then.

Values are copied, in batches, to rows that still have what the column began with. The archive goes in the
end, all of it but the values that found another one in their place, or nothing to refer to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lockstep.archive import registry, renamed
from lockstep.archive.guard import guard, settle
from lockstep.archive.refused import REASON
from lockstep.archive.registry import SETTINGS, block
from lockstep.archive.silence import silence
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.run import WARNS
from lockstep.steps.step import INSIDE, Copy, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: For a batch with a value that the column refuses: the others are set one by one.
_ONE_BY_ONE = """
#variable_conflict use_column
DECLARE
    place tid;
    moved integer := 0;
    changed integer;
    state text;
    message text;
    detail text;
BEGIN
    FOR place IN SELECT ctid FROM {kept} AS source WHERE {inside} AND {reason} IS NULL LOOP
        BEGIN
            {update} AND source.ctid = place;
            GET DIAGNOSTICS changed = ROW_COUNT;
            moved := moved + changed;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                detail = PG_EXCEPTION_DETAIL;
            IF left(state, 2) NOT IN ('22', '23', '42', '44', 'P0') THEN
                RAISE;
            END IF;
            UPDATE {kept} SET {reason} = concat_ws(' ', message || '.', nullif(detail, ''))
            WHERE ctid = place;
        END;
    END LOOP;
    PERFORM set_config('lockstep.moved', moved::text, false);
END
"""

#: All is back, or else what is not is told. It is kept until the revision is through (``guard``).
_FINISH = """
DECLARE left_behind bigint; reasons text;
BEGIN
    UPDATE {kept} AS source SET {reason} = {why} FROM {table} AS t
    WHERE {same} AND {reason} IS NULL AND {value} IS NOT NULL
      AND {there}::text IS DISTINCT FROM {value}::text;
    SELECT count(*) INTO left_behind FROM {kept} WHERE {reason} IS NOT NULL;
    IF left_behind > 0 THEN
        SELECT string_agg(format('%s: %s', to_jsonb(source) - {name}, {reason}), E'\\n')
        INTO reasons FROM (SELECT * FROM {kept} WHERE {reason} IS NOT NULL LIMIT 5) AS source;
        RAISE WARNING USING MESSAGE = {said} || left_behind || {of_them} || E'\\n' || reasons;
    END IF;
    UPDATE lockstep.archive SET state = 'keeping', details = details || jsonb_build_object(
        'given back', true, 'names', {names}::jsonb, 'numbers', (
            SELECT jsonb_agg((SELECT attnum FROM pg_attribute
                              WHERE attrelid = {relation}::regclass AND attname = name) ORDER BY place)
            FROM jsonb_array_elements_text({names}) WITH ORDINALITY AS one (name, place)))
    WHERE id = {id};
END
"""


def restore_added(
    planning: Planning, table: Table, name: str, new_type: str, initial: str | None
) -> list[Step]:
    """As ``restore_column``, right after the column was added: without what has to wait for its parents."""
    of_revision = registry.of_revision(planning)
    kept = renamed.made_here(planning, of_revision, (table.schema, table.name, name))
    tables = [one for one in of_revision if one.kind == "table"]
    there = catalog.columns(planning.connection, table.oid) if kept else {}
    steps = []
    for one in kept:
        if not _waits(planning, one, tables):
            here = _same(one, one.details["key"], there)
            steps += _restore(planning, table, one, (here, name), new_type, initial, guarded=True)
    return steps


def _same(kept: Kept, key: Sequence[str], there: Container[str]) -> Sequence[str]:
    """The key, by names that are there: those that it was kept by, or those at the end of the revision."""
    columns = kept.details.get("columns", {})
    at_end = [columns.get(name, name) for name in kept.details["key"]]
    return key if all(name in there for name in key) else at_end


def _waits(planning: Planning, kept: Kept, tables: Sequence[Kept]) -> bool:
    """Whether values may refer to rows of kept tables, which come back at the end of the revision; one may
    have another name until then.
    """
    names = {name for one in tables for name in renamed.names_of(one)}
    parents = kept.details.get("parents", ())
    if kept.details.get("unsure") and tables:
        return True  # another process has dropped its foreign keys
    if any(tuple(parent.get(name, ())) in names for parent in parents for name in ("table", "end")):
        return True
    there = "SELECT to_regclass(%(name)s) IS NOT NULL"
    return bool(tables) and not all(
        catalog.scalar(planning.connection, there, name=parent["parent"]) for parent in parents
    )


def restore_column(
    planning: Planning, table: Table, kept: Kept, name: str, new_type: str, initial: str | None
) -> list[Step]:
    """The steps that put a column's kept values back at the end of the revision.

    ``initial`` is the SQL of what the column began with (None: NULL). Takes row locks, batch by batch; where
    the table has UPDATE triggers that this role can't do without otherwise, its writers wait for a batch.
    """
    at_end = list(renamed.columns_at_end(planning, kept).values())
    key = _same(kept, at_end, catalog.columns(planning.connection, table.oid))
    return _restore(planning, table, kept, (key, name), new_type, initial)


def _restore(
    planning: Planning,
    table: Table,
    kept: Kept,
    names: tuple[Sequence[str], str],
    new_type: str,
    initial: str | None,
    *,
    guarded: bool = False,
) -> list[Step]:
    """``names``: of the key and of the column, as they are now."""
    connection = planning.connection
    there = catalog.columns(connection, table.oid)
    key, name = names
    if not key:
        planning.warn(f"{kept} was kept from a table without a key; it stays in {kept.sql}")
        return []
    if any(k not in there for k in key):
        planning.warn(f"{table} has another key now; what was kept of {kept} stays in {kept.sql}")
        return []
    if kept.details["type"] != new_type:
        planning.warn(f"{kept} was of type {kept.details['type']}; what was kept stays in {kept.sql}")
        return []
    value = f"source.value::{new_type}"
    same = " AND ".join(f"t.{quote(k)} = source.k{n}::{there[k].type_sql}" for n, k in enumerate(key))
    begun = "NULL"
    if initial:
        # What now() was when the column was added is kept in the catalog only.
        where = f"attrelid = {literal(table.sql)}::regclass AND attname = {literal(name)}"
        begun = (
            f"coalesce((SELECT (attmissingval::text::text[])[1]::{new_type}::text FROM pg_attribute "
            f"WHERE {where}), ({initial})::text)"
        )
    parents = _parents(planning, kept, there, value, ended=not guarded)
    reason = quote(REASON)
    update = (
        f"UPDATE {table.sql} AS t SET {quote(name)} = {value} FROM {kept.sql} AS source WHERE {same} "
        f"AND source.{reason} IS NULL AND t.{quote(name)}::text IS NOT DISTINCT FROM {begun}"
        + "".join(f" AND {condition}" for condition, _ in parents)
    )
    # Right after the column was added no foreign key has to do with it.
    added = there.get(name)
    hush = silence(connection, table.oid, "UPDATE", added.number if added else 0, unchecked=added is None)
    whys = "".join(f"WHEN NOT {condition} THEN {said} " for condition, said in parents)
    why = f"'the row has another value now: ' || coalesce(t.{quote(name)}::text, 'NULL')"
    finish = _FINISH.format(
        kept=kept.sql, table=table.sql, same=same, reason=reason, id=kept.id, name=literal(REASON),
        value="source.value", there=f"t.{quote(name)}", why=f"CASE {whys}ELSE {why} END" if whys else why,
        said=literal(f"{WARNS}{table}.{name}: "),
        of_them=literal(f" of its values are set aside in {kept.sql}, the reason beside each:"),
        names=literal(json.dumps([*key, name])), relation=literal(table.sql),
    )  # fmt: skip
    return [
        Step(
            "archive: a column that says why a value is set aside",
            sql=(f"ALTER TABLE {kept.sql} ADD COLUMN IF NOT EXISTS {reason} text",),
            undo=(),
        ),
        Step(
            f"{table}: give back column {name}, kept at {kept.kept_at}",
            kind=Kind.COPY,
            copy=Copy(
                kept.sql, f"{update} AND {INSIDE}", without_triggers=hush.without_triggers, into=table.sql,
                before=hush.before, after=hush.after,
                one_by_one=block(
                    _ONE_BY_ONE.format(kept=kept.sql, inside=INSIDE, reason=reason, update=update)
                ),
            ),
            undo=(),
        ),
        Step(
            f"{table}: column {name} is given back",
            sql=(SETTINGS, "SET LOCAL client_min_messages = warning", block(finish)),
            kind=Kind.LONG,
            undo=(),
            before_undo=(settle(kept),),
        ),
        guard(planning, table, kept, names) if guarded else settle(kept),
    ]  # fmt: skip


def _parents(
    planning: Planning, kept: Kept, there: dict[str, catalog.Column], value: str, *, ended: bool
) -> list[tuple[str, str]]:
    """For each foreign key that the column had: a condition that the parent is there, and what is said where
    it isn't. A parent table that is gone has no say.
    """
    found = []
    own = {kept.column, renamed.at_end(planning, kept)[2]}
    for key in kept.details.get("parents", ()):
        parent = renamed.parent(planning, key, ended=ended)
        oid = catalog.scalar(planning.connection, "SELECT to_regclass(%(name)s)::oid", name=parent)
        known = catalog.columns(planning.connection, oid) if oid else {}
        others = [name for name in key["ours"] if name not in own]
        if any(name not in known for name in key["theirs"]) or any(name not in there for name in others):
            continue
        ours = [value if name in own else f"t.{quote(name)}" for name in key["ours"]]
        absent = " OR ".join(f"{one} IS NULL" for one in ours)
        match = " AND ".join(
            f"parent.{quote(theirs)} = {one}" for theirs, one in zip(key["theirs"], ours, strict=True)
        )
        condition = f"({absent} OR EXISTS (SELECT FROM {parent} AS parent WHERE {match}))"
        shown = " || ', ' || ".join(f"coalesce(({one})::text, 'null')" for one in ours)
        named = literal(f"Key ({', '.join(key['ours'])})=(")
        absent_from = literal(f") is not present in table {parent}.")
        said = f"{named} || {shown} || {absent_from}"
        found.append((condition, said))
    return found
