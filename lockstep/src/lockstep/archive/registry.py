"""What is kept: the table ``lockstep.archive``, with a row for each table or column that was dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import AS_TEXT
from lockstep.revision.ledger import ARCHIVE_SCHEMA
from lockstep.scopes import is_derived

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.revision.planning import Planning

#: What a transaction that keeps or gives back sets first: values survive as text, and a row that a policy
#: hides is an error rather than left out in silence.
SETTINGS = (
    "SELECT "
    + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in AS_TEXT.items())
    + ", set_config('row_security', 'off', true)"
)

#: Whether the type and the collation of ``pg_attribute a`` (``pg_type t``) are PostgreSQL's own. What isn't
#: is kept as text, so that what is kept stands in the way of no DROP TYPE.
OWN_TYPE = "(t.typnamespace = 'pg_catalog'::regnamespace AND (a.attcollation = 0 OR a.attcollation < 16384))"


@dataclass(frozen=True)
class Kept:
    """One table or column that is kept."""

    id: int
    revision: str
    kind: str
    schema: str
    table: str
    column: str | None
    place: str
    details: dict[str, Any]
    state: str
    kept_at: str
    version_table: str

    @property
    def sql(self) -> str:
        return f"{quote(ARCHIVE_SCHEMA)}.{quote(self.place)}"

    def __str__(self) -> str:
        table = self.table if self.schema == "public" else f"{self.schema}.{self.table}"
        return f"{table}.{self.column}" if self.column else table


def listed(connection: Connection) -> list[Kept]:
    """Everything that is kept, the oldest first."""
    if not catalog.scalar(connection, "SELECT to_regclass('lockstep.archive')"):
        return []
    return [
        Kept(
            id=row.id,
            revision=row.revision,
            kind=row.kind,
            schema=row.schema_name,
            table=row.table_name,
            column=row.column_name,
            place=row.place,
            details=json.loads(row.details),
            state=row.state,
            kept_at=row.kept_at,
            version_table=row.version_table,
        )
        for row in catalog.rows(
            connection,
            "SELECT id, revision, kind, schema_name, table_name, column_name, place, "
            "details::text AS details, state, "
            "to_char(kept_at, 'YYYY-MM-DD HH24:MI:SSOF') AS kept_at, version_table "
            "FROM lockstep.archive ORDER BY id",
        )
    ]


def kept_of(connection: Connection, version_table: str) -> list[Kept]:
    """What is kept of a version table."""
    return [one for one in listed(connection) if one.version_table == version_table]


def of_version_table(connection: Connection, version_table: str) -> list[Kept]:
    """What is kept of a version table, and of earlier ones of its name, which were dropped and made anew:
    that is given back to nobody.
    """
    gone = f"{version_table} (gone"
    return [
        one
        for one in listed(connection)
        if one.version_table == version_table or one.version_table.startswith(gone)
    ]


def of_revision(planning: Planning) -> list[Kept]:
    """What downgrades of the revision at hand kept and it may give back now: the newest first."""
    if planning.direction != "upgrade" or not planning.keeps:
        return []
    wanted = (planning.version_table, planning.revision, "kept")
    found = [k for k in listed(planning.connection) if (k.version_table, k.revision, k.state) == wanted]
    return found[::-1]


def given_back(connection: Connection, version_table: str, revision: str) -> list[Kept]:
    """The columns whose kept values a revision has given back, and which are kept until its end."""
    return [
        kept
        for kept in listed(connection)
        if (kept.version_table, kept.revision, kept.state) == (version_table, revision, "keeping")
        and kept.details.get("given back")
    ]


def worth_keeping(planning: Planning) -> bool:
    """Whether what is dropped now is kept: in a downgrade, but for derived data."""
    return planning.direction == "downgrade" and not is_derived()


# -- what a step writes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where something will be kept, and for which revision."""

    number: int
    name: str
    version_table: str
    revision: str

    @property
    def sql(self) -> str:
        return f"{quote(ARCHIVE_SCHEMA)}.{quote(self.name)}"

    def register(self, kind: str, schema: str, table: str, column: str | None, details: str) -> str:
        """The INSERT of its row; ``details``, ``schema`` and ``table`` are SQL expressions."""
        named = "NULL" if column is None else literal(column)
        return (
            "INSERT INTO lockstep.archive (id, version_table, revision, kind, schema_name, table_name, "
            "column_name, place, details, state) "
            f"VALUES ({self.number}, {literal(self.version_table)}, {literal(self.revision)}, '{kind}', "
            f"{schema}, {table}, {named}, {literal(self.name)}, {details}, 'keeping') "
            "ON CONFLICT (id) DO NOTHING"
        )

    def kept(self) -> str:
        """From now on it is given back."""
        return f"UPDATE lockstep.archive SET state = 'kept', kept_at = now() WHERE id = {self.number}"


def new_place(planning: Planning, *names: str) -> Place:
    """A place that nothing else has; its name begins with its number, so names cut to 63 bytes differ."""
    number = planning.next_place()
    name = catalog.clip("_".join([str(number), *names]))
    return Place(number, name, planning.version_table, planning.revision)


#: The keys that rows are found by again: the primary key, or a unique index over columns that are NOT NULL.
KEYS = """
SELECT ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(attnum, position)
    JOIN pg_attribute a ON a.attnum = k.attnum AND a.attrelid = i.indrelid
    WHERE k.position <= i.indnkeyatts ORDER BY k.position) AS columns
FROM pg_index i
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (
    SELECT FROM unnest(i.indkey) WITH ORDINALITY k(attnum, position)
    JOIN pg_attribute a ON a.attnum = k.attnum AND a.attrelid = i.indrelid
    WHERE k.position <= i.indnkeyatts AND NOT a.attnotnull)
ORDER BY i.indisprimary DESC, i.indexrelid
"""


def row_key(connection: Connection, oid: int, without: str) -> tuple[tuple[str, ...], dict[str, bool]]:
    """The columns that a row is found by again when the column ``without`` is gone; empty without a key. And
    for each column of the table, whether its type and collation are PostgreSQL's own.
    """
    keys, own = catalog.rows(
        connection,
        f"""
        SELECT (SELECT json_agg(columns) FROM ({KEYS}) found)::text,
               (SELECT json_object_agg(a.attname, {OWN_TYPE} ORDER BY a.attnum)
                FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped)::text
        """,
        oid=oid,
    )[0]
    key = next((columns for columns in json.loads(keys or "[]") if without not in columns), ())
    return tuple(key), json.loads(own or "{}")


def tied(connection: Connection, oid: int, number: int = 0) -> tuple[tuple[str, str], ...]:
    """Locks for a drop: the table and those that share a foreign key with it (on that column), in the order
    of their oids.
    """
    found = catalog.rows(
        connection,
        """
        SELECT DISTINCT c.oid, format('%%I.%%I', n.nspname, c.relname) AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = %(oid)s OR c.oid IN (
            SELECT CASE WHEN conrelid = %(oid)s THEN confrelid ELSE conrelid END FROM pg_constraint
            WHERE contype = 'f' AND (
                conrelid = %(oid)s AND (%(number)s = 0 OR %(number)s = ANY (conkey))
             OR confrelid = %(oid)s AND (%(number)s = 0 OR %(number)s = ANY (confkey)))
        ) ORDER BY c.oid
        """,
        oid=oid,
        number=number,
    )
    return tuple((row.name, "ACCESS EXCLUSIVE") for row in found)


def tried(statement: str) -> list[str]:
    """The plain statement, run and rolled back: what PostgreSQL refuses is refused at the start."""
    return ["SAVEPOINT lockstep_try", statement, "ROLLBACK TO SAVEPOINT lockstep_try"]


def block(body: str) -> str:
    """A DO statement."""
    return f"DO {literal(body)}"


_TRIGGERS = """
SELECT format('DROP TRIGGER %%I ON %%s', tgname, tgrelid::regclass) FROM pg_trigger
WHERE tgname = ANY (%(names)s) AND tgparentid = 0
"""


def given_up(connection: Connection, version_table: str, revision: str) -> list[str]:
    """Statements for a revision that is given up half way: a column that is still there is no longer kept.

    A table that has been moved is kept, and comes back when the revision runs up again.
    """
    statements: list[str] = []
    for kept in kept_of(connection, version_table):
        if (kept.revision, kept.state) != (revision, "keeping") or kept.details.get("given back"):
            continue
        if kept.kind == "table":
            statements.append(f"UPDATE lockstep.archive SET state = 'kept' WHERE id = {kept.id}")
            continue
        names = [f"~lockstep_{what}_{kept.id}" for what in ("keep", "empty")]
        statements += [
            *(row[0] for row in catalog.rows(connection, _TRIGGERS, names=names)),
            f"DROP FUNCTION IF EXISTS lockstep.{quote(f'keep_{kept.id}')}()",
            f"DROP TABLE IF EXISTS {kept.sql}",
            f"DELETE FROM lockstep.archive WHERE id = {kept.id}",
        ]
    return statements
