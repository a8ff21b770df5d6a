"""Giving back the rows of the tables that a downgrade dropped, at the end of the revision's upgrade.

Rows move from the archive to their tables in batches, parents before children; what refers to one another is
moved in one statement. A row that has no place any more stays in the archive, with the reason beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.archive import renamed
from lockstep.archive.refused import REASON, one_by_one
from lockstep.archive.registry import SETTINGS, block
from lockstep.archive.silence import Silence, silence
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.run import WARNS
from lockstep.steps.step import INSIDE, Copy, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning

#: The foreign keys of a table that PostgreSQL enforces. One with PERIOD compares ranges: left to PostgreSQL.
_FOREIGN_KEYS = """
SELECT k.confrelid AS oid, format('%%I.%%I', n.nspname, c.relname) AS parent, k.confmatchtype = 'f' AS "full",
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, p)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY p) AS ours,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, p)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY p) AS theirs
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = %(oid)s AND k.conparentid = 0
  AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)
ORDER BY k.oid
"""


@dataclass(frozen=True)
class _ForeignKey:
    oid: int
    parent: str
    full: bool
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


@dataclass(frozen=True)
class _Return:
    """A kept table on its way back."""

    kept: Kept
    table: Table
    types: dict[str, str]
    """The columns that were kept and are there again, with their types."""
    kept_as: dict[str, str]
    """The names that they were kept by."""
    foreign_keys: tuple[_ForeignKey, ...]
    silence: Silence

    @property
    def names(self) -> str:
        return ", ".join(quote(name) for name in self.types)

    @property
    def values(self) -> str:
        return ", ".join(f"{self.of(n)} AS {quote(n)}" for n in self.types)

    def of(self, column: str, row: str = "source") -> str:
        """The value that is kept for a column."""
        return f"{row}.{quote(self.kept_as[column])}::{self.types[column]}"

    @property
    def insert(self) -> str:
        """INSERT of rows of ``source``, to be followed by its conditions."""
        return (
            f"INSERT INTO {self.table.sql} ({self.names}) OVERRIDING SYSTEM VALUE "
            f"SELECT {self.values} FROM {self.kept.sql} AS source"
        )

    def parents(self, others: Sequence[_Return] = ()) -> list[tuple[str, str]]:
        """For each foreign key a condition on ``source`` (its parent is there, or comes back with one of the
        ``others``) and, as an SQL expression, what is said where it isn't.
        """
        found = []
        for key in self.foreign_keys:
            ours = [f"source.{quote(self.kept_as[name])}" for name in key.ours]
            absent = [f"{name} IS NULL" for name in ours]
            free = " AND ".join(absent) if key.full else " OR ".join(absent)
            places = [f"EXISTS (SELECT FROM {key.parent} parent WHERE {self._match(key)})"]
            for other in others:
                if other.table.oid == key.oid and all(name in other.types for name in key.theirs):
                    match = self._match(key, other)
                    places.append(
                        f"EXISTS (SELECT FROM {other.kept.sql} parent "
                        f"WHERE {match} AND parent.{quote(REASON)} IS NULL)"
                    )
            said = f"Key ({', '.join(key.ours)})=(%s) is not present in table {key.parent}."
            values = " || ', ' || ".join(f"coalesce({name}::text, 'null')" for name in ours)
            found.append((f"({free} OR {' OR '.join(places)})", _format(said, values)))
        return found

    def _match(self, key: _ForeignKey, other: _Return | None = None) -> str:
        return " AND ".join(
            f"{other.of(theirs, 'parent') if other else f'parent.{quote(theirs)}'} = {self.of(ours)}"
            for ours, theirs in zip(key.ours, key.theirs, strict=True)
        )

    def has_parents(self) -> str:
        return "".join(f" AND {condition}" for condition, _ in self.parents())


def _format(said: str, values: str) -> str:
    before, after = said.split("%s")
    return f"{literal(before)} || {values} || {literal(after)}"


def restore_tables(planning: Planning, kept: Sequence[Kept]) -> list[Step]:
    """The steps that give back the rows of these tables, the newest first of each; empty where there is
    nothing that can be given back.

    Inserts take what INSERTs take; where a table has INSERT triggers its writers wait for a batch (20 ms).
    """
    returns = _in_order([one for k in kept if (one := _return(planning, k)) is not None])
    if not returns:
        return []
    reason = quote(REASON)
    steps = [
        Step(
            "archive: a column that says why a row is set aside",
            sql=tuple(f"ALTER TABLE {r.kept.sql} ADD COLUMN IF NOT EXISTS {reason} text" for r in returns),
            undo=(),
        )
    ]
    for r in returns:
        moved = (
            f"WITH source AS (DELETE FROM {r.kept.sql} AS source WHERE {INSIDE} AND {reason} IS NULL"
            f"{r.has_parents()} RETURNING source.*) INSERT INTO {r.table.sql} ({r.names}) "
            f"OVERRIDING SYSTEM VALUE SELECT {r.values} FROM source"
        )
        alone = one_by_one(r.kept.sql, r.table.sql, r.names, r.values, r.insert, r.has_parents())
        steps.append(
            Step(
                f"{r.table}: give back its rows, kept at {r.kept.kept_at}",
                kind=Kind.COPY,
                undo=(),
                copy=Copy(
                    r.kept.sql, moved, until_still=True, into=r.table.sql, one_by_one=alone,
                    before=r.silence.before, after=r.silence.after,
                ),
            )
        )  # fmt: skip
    before = [statement for r in returns for statement in r.silence.before]
    after = [statement for r in returns for statement in r.silence.after]
    steps.append(
        Step(
            f"{', '.join(dict.fromkeys(str(r.table) for r in returns))}: what was kept is given back",
            sql=(
                SETTINGS,
                "SET LOCAL client_min_messages = warning",
                *dict.fromkeys(before),
                _together(returns),
                *dict.fromkeys(after),
                *(sequence for r in returns for sequence in _sequences(r)),
                *(_finish(r) for r in returns),
            ),
            kind=Kind.LONG,
            undo=(),
        )
    )
    return steps


def _return(planning: Planning, kept: Kept) -> _Return | None:
    connection = planning.connection
    table = renamed.find_table(planning, kept)
    if table is None or table.kind not in {"r", "p"}:
        planning.warn(f"there is no table {kept} at the end of the revision; its rows stay in {kept.sql}")
        return None
    there = catalog.columns(connection, table.oid)
    names = renamed.columns_at_end(planning, kept)
    types = {names[name]: kind for name, kind in kept.details["types"].items()}
    for name, kind in types.items():
        if name not in there or there[name].generated or there[name].type_sql != kind:
            now = (
                f"has another type now ({there[name].type_sql})" if name in there else "is not there any more"
            )
            planning.warn(f"{table}.{name}, kept as {kind}, {now}; what was kept stays in {kept.sql}")
            return None
    if not types:
        return None
    keys = tuple(
        _ForeignKey(row.oid, row.parent, row.full, tuple(row.ours), tuple(row.theirs))
        for row in catalog.rows(connection, _FOREIGN_KEYS, oid=table.oid)
        if all(name in types for name in row.ours)
    )
    kept_as = {at_end: name for name, at_end in names.items()}
    return _Return(kept, table, types, kept_as, keys, silence(connection, table.oid, "INSERT"))


def _in_order(returns: list[_Return]) -> list[_Return]:
    """Parents before children, as far as they do not refer to one another."""
    ordered: list[_Return] = []
    seen: set[int] = set()

    def visit(oid: int) -> None:
        if oid in seen:
            return
        seen.add(oid)
        own = [r for r in returns if r.table.oid == oid]
        for r in own:
            for key in r.foreign_keys:
                visit(key.oid)
        ordered.extend(own)

    for r in returns:
        visit(r.table.oid)
    return ordered


# -- the last step ------------------------------------------------------------------------------------------

#: What is left refers to one another, or to nothing. First the latter is set aside, over and over, until
#: every row's parent is there or comes along; then all of them go in one statement, at whose end PostgreSQL
#: checks the foreign keys. Where another constraint refuses some of them, these are found by trying each.
_TOGETHER = """
DECLARE
    place tid;
    changed integer;
    number integer;
    message text;
    detail text;
BEGIN
    FOR attempt IN 1..2 LOOP
        LOOP
            number := 0;
            {set_orphans_aside}
            EXIT WHEN number = 0;
        END LOOP;
        BEGIN
            {move};
            RETURN;
        EXCEPTION WHEN integrity_constraint_violation OR data_exception OR raise_exception THEN
            GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        END;
        IF attempt = 1 THEN
            {try_each}
        ELSE
            {set_all_aside}
        END IF;
    END LOOP;
END
"""

_TRY_EACH = """
            FOR place IN SELECT ctid FROM {kept} WHERE {reason} IS NULL LOOP
                BEGIN
                    {insert} WHERE source.ctid = place;
                    RAISE EXCEPTION USING ERRCODE = 'LS000';
                EXCEPTION WHEN foreign_key_violation OR SQLSTATE 'LS000' THEN
                    NULL;
                WHEN integrity_constraint_violation OR data_exception OR raise_exception THEN
                    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
                    UPDATE {kept} SET {reason} = concat_ws(' ', message || '.', nullif(detail, ''))
                    WHERE ctid = place;
                END;
            END LOOP;
"""


def _together(returns: Sequence[_Return]) -> str:
    reason = quote(REASON)
    orphans = [
        f"UPDATE {r.kept.sql} AS source SET {reason} = {said} WHERE {reason} IS NULL AND NOT {condition}; "
        "GET DIAGNOSTICS changed = ROW_COUNT; number := number + changed;"
        for r in returns
        for condition, said in r.parents(returns)
    ]
    parts = []
    for n, r in enumerate(returns):
        parts += [
            f"going_{n} AS (DELETE FROM {r.kept.sql} WHERE {reason} IS NULL RETURNING *)",
            f"came_{n} AS (INSERT INTO {r.table.sql} ({r.names}) OVERRIDING SYSTEM VALUE "
            f"SELECT {r.values} FROM going_{n} AS source)",
        ]
    return block(
        _TOGETHER.format(
            set_orphans_aside="\n            ".join(orphans),
            move=f"WITH {', '.join(parts)} SELECT count(*) INTO number FROM pg_class WHERE false",
            try_each="".join(
                _TRY_EACH.format(kept=r.kept.sql, reason=reason, insert=r.insert) for r in returns
            ),
            set_all_aside="\n            ".join(
                f"UPDATE {r.kept.sql} SET {reason} = concat_ws(' ', message || '.', nullif(detail, '')) "
                f"WHERE {reason} IS NULL;"
                for r in returns
            ),
        )
    )


def _sequences(r: _Return) -> list[str]:
    """Statements that let the table's sequences go on where those of the kept one stopped, or later."""
    statements = []
    for column, last in r.kept.details["sequences"].items():
        if last is not None:
            now = next((name for name, kept in r.kept_as.items() if kept == column), column)
            owned = f"pg_get_serial_sequence({literal(r.table.sql)}, {literal(now)})"
            went = f"coalesce(pg_sequence_last_value({owned}::regclass), {last})"
            further = (
                f"CASE WHEN seqincrement < 0 THEN least({last}, {went}) ELSE greatest({last}, {went}) END"
            )
            statements.append(
                f"SELECT setval(seqrelid, {further}) FROM pg_sequence WHERE seqrelid = {owned}::regclass"
            )
    return statements


def _finish(r: _Return) -> str:
    """Forget what is kept once all of it is back; otherwise say what is set aside."""
    reason = quote(REASON)
    more = f"SELECT count(*) FROM {r.kept.sql}"
    return block(
        f"""
DECLARE left_behind bigint; reasons text;
BEGIN
    IF EXISTS (SELECT FROM {r.kept.sql}) THEN
        {more} INTO left_behind;
        SELECT string_agg(format('%s: %s', to_jsonb(source) - {literal(REASON)}, {reason}), E'\\n')
        INTO reasons FROM (SELECT * FROM {r.kept.sql} LIMIT 5) AS source;
        UPDATE lockstep.archive SET state = 'set aside' WHERE id = {r.kept.id};
        RAISE WARNING USING MESSAGE = {literal(f"{WARNS}{r.table}: ")} || left_behind ||
            {literal(f" of its rows are set aside in {r.kept.sql}, the reason beside each:")}
            || E'\\n' || reasons;
    ELSE
        DROP TABLE {r.kept.sql};
        DELETE FROM lockstep.archive WHERE id = {r.kept.id};
    END IF;
END
"""
    )
