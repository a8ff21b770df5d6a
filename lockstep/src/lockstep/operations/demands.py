"""Rows that stand in the way of another type, found before anything changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import execute, sqlstate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from lockstep.operations.column_parts import Parts
    from lockstep.operations.conversion import Conversion
    from lockstep.operations.replaced_keys import ForeignKey
    from lockstep.postgres.catalog import Column, Table
    from lockstep.postgres.rehearsal import Copy


@dataclass(frozen=True)
class Demands:
    """What rows must satisfy once the column has its new type, in terms of the shadow's name."""

    checks: dict[str, str]
    """Conditions of CHECK constraints, by name."""
    expressions: tuple[str, ...]
    """What indexes compute of a row."""
    unique: dict[str, tuple[tuple[str, ...], str, bool]]
    """Unique indexes by name: keys, predicate, whether NULLs count as equal."""
    not_null: bool
    foreign_keys: tuple[ForeignKey, ...] = ()
    """Those that are valid."""


def demands_of(
    connection: Connection,
    table: Table,
    oid: int,
    real: Parts,
    before: Parts,
    after: Parts,
    *,
    not_null: bool,
    foreign_keys: Sequence[ForeignKey],
) -> Demands:
    """What the changed checks and indexes of a copy ask of rows, and what is known besides. ``real`` are the
    parts of the table itself, which has its indexes by their names, and the checks that are NOT VALID.
    """
    names = {definition: name for name, definition in real.indexes.items()}
    checks = catalog.rows(
        connection,
        """
        SELECT conname, pg_get_expr(conbin, conrelid) FROM pg_constraint k
        WHERE conrelid = %(oid)s AND contype = 'c' AND NOT EXISTS (
            SELECT FROM pg_constraint r WHERE r.conrelid = %(table)s AND r.conname = k.conname
              AND r.contype = 'c' AND NOT r.convalidated)
          AND coalesce(to_jsonb(k)->>'conenforced', 'true') = 'true' ORDER BY conname
        """,
        oid=oid,
        table=table.oid,
    )
    # Keys of BRIN, GIN and the like are computed as those of a btree are; only these can be unique.
    keys = catalog.rows(
        connection,
        """
        SELECT c.relname, i.indisunique, pg_get_expr(i.indpred, i.indrelid) AS predicate,
               coalesce(to_jsonb(i)->>'indnullsnotdistinct', 'false') = 'true' AS nulls_equal,
               ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false)
                     FROM generate_series(1, i.indnkeyatts) n ORDER BY n) AS keys,
               ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false)
                     FROM generate_series(1, i.indnkeyatts) n WHERE i.indkey[n - 1] = 0) AS computed
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %(oid)s ORDER BY c.relname
        """,
        oid=oid,
    )
    changed = [row for row in keys if before.indexes[row.relname] != after.indexes[row.relname]]
    return Demands(
        {row[0]: row[1] for row in checks if before.checks.get(row[0]) != after.checks[row[0]]},
        tuple(
            part for row in changed for part in (*row.computed, *([row.predicate] if row.predicate else []))
        ),
        {
            names.get(before.indexes[row.relname], row.relname): (
                tuple(row.keys),
                row.predicate or "",
                row.nulls_equal,
            )
            for row in changed
            if row.indisunique
        },
        not_null,
        tuple(key for key in foreign_keys if key.valid and key.enforced),
    )


def refuse_bad_rows(copy: Copy, conversion: Conversion, demands: Demands) -> None:
    """Read the table once and raise LockstepError, naming rows, where PostgreSQL would refuse to change the
    type: a value that cannot be converted, NULL, a CHECK, a value twice. Inside the rehearsal's transaction.
    """
    table, became = conversion.table, conversion.became
    connection = copy.connection
    shadow = quote(became.name)
    rows = f"{conversion.rows()} AS {quote(table.name)}"
    asked = [f"count({shadow})"]
    if _assigns_otherwise(copy, became):
        copy.run(
            "CREATE FUNCTION pg_temp.lockstep_assign(given anycompatible) RETURNS boolean "
            "LANGUAGE plpgsql AS "
            + literal(f"DECLARE value {became.type_sql}; BEGIN value := given; RETURN true; END")
        )
        asked.append(f"count(pg_temp.lockstep_assign({conversion.expression}))")
    asked += [f"count({expression})" for expression in demands.expressions]
    broken = [f"NOT ({condition})" for condition in demands.checks.values()]
    broken += [f"{shadow} IS NULL"] if demands.not_null else []
    asked += [f"count(*) FILTER (WHERE {condition})" for condition in broken]
    execute(connection, "SAVEPOINT reading")
    try:
        counts = execute(connection, f"SELECT {', '.join(asked)} FROM {rows}").one()
    except DBAPIError as error:
        execute(connection, "ROLLBACK TO SAVEPOINT reading")
        if (sqlstate(error) or "")[:2] not in {"22", "23", "42", "2F", "38", "39", "P0", "54"}:
            raise
        _name_refused(copy, conversion, error)
    names = [f"CHECK {name}" for name in demands.checks] + ["NOT NULL"]
    for condition, name, number in zip(broken, names, counts[len(asked) - len(broken) :], strict=False):
        if number:
            _refuse(
                connection, conversion, f"break {name} as {became.type_sql}", f"FROM {rows} WHERE {condition}"
            )
    back = f"CAST({shadow} AS {conversion.old.type_sql})"
    if demands.unique and not (conversion.exact and _are_same(connection, rows, back, conversion)):
        for name, key in demands.unique.items():
            _refuse_twins(connection, conversion, rows, name, key)
    if demands.foreign_keys and not _are_same(connection, rows, shadow, conversion):
        for foreign_key in demands.foreign_keys:
            _refuse_orphans(connection, conversion, foreign_key)


def _refuse(connection: Connection, conversion: Conversion, what: str, source: str) -> None:
    found = catalog.rows(
        connection, f"SELECT to_jsonb({quote(conversion.table.name)})::text {source} LIMIT 5"
    )
    listed = "; ".join(row[0][:300] for row in found)
    raise LockstepError(
        f"{conversion.table}.{conversion.old.name}: these rows {what}; nothing was changed. Put them right "
        f"first: {listed}"
    )


def _assigns_otherwise(copy: Copy, became: Column) -> bool:
    """Whether the type has a length that a CAST enforces in another way than an assignment."""
    return bool(
        catalog.scalar(
            copy.connection,
            """
            SELECT EXISTS (
                SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                JOIN pg_cast c ON c.castsource = c.casttarget
                 AND c.castsource IN (t.oid, t.typbasetype, t.typelem) JOIN pg_proc p ON p.oid = c.castfunc
                WHERE a.attrelid = %(oid)s AND a.attname = %(name)s AND p.pronargs = 3)
            """,
            oid=copy.oid,
            name=became.name,
        )
    )


def _name_refused(copy: Copy, conversion: Conversion, error: DBAPIError) -> None:
    """Raise with the rows whose value is refused; with PostgreSQL's message where no single one is."""
    table = conversion.table
    body = (
        f"DECLARE value {conversion.became.type_sql}; "
        f"BEGIN SELECT {conversion.expression} INTO STRICT value "
        f"FROM (SELECT given.*) AS {quote(table.name)}; "
        "RETURN NULL; EXCEPTION WHEN others THEN RETURN SQLERRM; END"
    )
    copy.run(
        f"CREATE FUNCTION pg_temp.lockstep_refused(given {table.sql}) RETURNS text LANGUAGE plpgsql AS "
        + literal(body)
    )
    found = catalog.rows(
        copy.connection,
        f"SELECT to_jsonb(r)::text, why FROM ONLY {table.sql} r, LATERAL pg_temp.lockstep_refused(r) why "
        "WHERE why IS NOT NULL LIMIT 5",
    )
    listed = "; ".join(f"{row[0][:300]} ({row[1]})" for row in found)
    reason = str(getattr(error, "orig", error)).splitlines()[0]
    raise LockstepError(
        f"{table}.{conversion.old.name} as {conversion.became.type_sql}: {reason}; nothing was changed."
        + (f" Put these rows right first: {listed}" if listed else "")
    ) from error


def _are_same(connection: Connection, rows: str, value: str, conversion: Conversion) -> bool:
    """Whether no row has another value in ``value`` than in the old column; False where they do not compare.

    Of the new value cast back it says that what was different stays so, of the new value itself that it
    equals whatever the old one equals.
    """
    differs = f"{value} IS DISTINCT FROM {quote(conversion.old.name)}"
    execute(connection, "SAVEPOINT same")
    try:
        return not catalog.scalar(connection, f"SELECT EXISTS (SELECT FROM {rows} WHERE {differs})")
    except DBAPIError:
        execute(connection, "ROLLBACK TO SAVEPOINT same")
        return False


def twins(source: str, key: tuple[tuple[str, ...], str, bool]) -> str:
    """A query for what rows of ``source`` that differ would have in common in a unique index."""
    keys, predicate, nulls_equal = key
    conditions = [f"({predicate})"] if predicate else []
    if not nulls_equal:
        conditions += [f"({part}) IS NOT NULL" for part in keys]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    parts = ", ".join(f"({part})" for part in keys)
    return (
        f"SELECT jsonb_build_array({parts})::text FROM {source}{where} GROUP BY {parts} HAVING count(*) > 1"
    )


def _refuse_twins(connection: Connection, conversion: Conversion, rows: str, name: str, key: Any) -> None:
    """Raise where rows that differ would be the same to a unique index."""
    found = catalog.rows(connection, f"{twins(rows, key)} LIMIT 5")
    if found:
        raise LockstepError(
            f"{conversion.table}.{conversion.old.name} as {conversion.became.type_sql}: unique index {name} "
            "would have these values more than once; nothing was changed. Put them right first: "
            + "; ".join(row[0] for row in found)
        )


def _refuse_orphans(connection: Connection, conversion: Conversion, key: ForeignKey) -> None:
    """Raise where rows would refer to nothing, since one of two equal values was rounded."""
    oid = conversion.table.oid
    child = conversion.rows() if key.child_oid == oid else key.child
    parent = conversion.rows() if key.parent_oid == oid else key.parent
    given = " AND ".join(f"c.{quote(column)} IS NOT NULL" for column in key.columns)
    found = catalog.rows(
        connection,
        f"SELECT left(to_jsonb(c)::text, 300) FROM {child} AS c "
        f"WHERE {given} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {' AND '.join(key.equal)}) LIMIT 5",
    )
    if found:
        raise LockstepError(
            f"{conversion.table}.{conversion.old.name} as {conversion.became.type_sql}: foreign key "
            f"{key.name} would be broken by these rows; nothing was changed. Put them right first: "
            + "; ".join(row[0] for row in found)
        )
