"""How a column's values become those of another type.

An assignment (``SET new = old``) converts as ALTER COLUMN … TYPE does; a CAST is not always the same: to
``varchar(3)`` it cuts what an assignment refuses. Where the assignment succeeds both give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import execute

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Column, Table
    from lockstep.postgres.rehearsal import Copy


@dataclass(frozen=True)
class Conversion:
    """The expression that makes the new value of a row out of its columns."""

    table: Table
    old: Column
    became: Column
    """The new column, under the shadow's name."""
    using: str | None
    exact: bool
    """Whether what the new type takes for equal is the same to the last byte."""
    immutable: bool
    """Whether it gives the same in every session."""
    settings: tuple[tuple[str, str], ...]
    """The settings of this session that it may depend on, where it is not immutable."""

    @property
    def expression(self) -> str:
        """What is assigned to the new column."""
        return f"({self.using})" if self.using else quote(self.old.name)

    @property
    def value(self) -> str:
        """The new value, as an expression of the new type."""
        return f"CAST({self.expression} AS {self.became.type_sql})"

    @property
    def out_of_step(self) -> str:
        """True for a row whose shadow is another value than it should be."""
        return self.differs(quote(self.became.name), self.value)

    def differs(self, one: str, other: str) -> str:
        """True where two values of the new type are not the same, to the last byte: ``=`` says of 1.0 and
        1.00, of two boxes of the same area, of letters in some collations that they are equal, and of
        ``json`` nothing. Looking at the bytes takes longer than ``=``.
        """
        if self.exact:
            return f"{one} IS DISTINCT FROM {other}"
        return f"record_image_ne(ROW({one}), ROW({other}))"

    def rows(self) -> str:
        """A subquery: the rows as they are, each with its new value."""
        return (
            f"(SELECT *, {self.value} AS {quote(self.became.name)} "
            f"FROM ONLY {self.table.sql} AS {quote(self.table.name)})"
        )

    def trigger_body(self) -> str:
        """PL/pgSQL that sets the shadow of NEW."""
        value = (
            f"(SELECT ({self.using}) FROM (SELECT NEW.*) AS {quote(self.table.name)})"
            if self.using
            else f"NEW.{quote(self.old.name)}"
        )
        return (
            f"#variable_conflict use_column\nBEGIN NEW.{quote(self.became.name)} := {value}; RETURN NEW; END"
        )

    def set_clauses(self) -> str:
        """For CREATE FUNCTION: whoever writes a row, it is converted as this session converts it."""
        return "".join(
            # search_path is a list of names, quoted where they need it already.
            f" SET {name} TO {(value or chr(39) * 2) if name == 'search_path' else literal(value)}"
            for name, value in self.settings
        )


def conversion(copy: Copy, table: Table, old: Column, became: Column, using: str | None) -> Conversion:
    """How the values are converted; refused where each run of the expression gives another value, or where
    it needs what a trigger does not have.

    ``copy`` has the table's columns, the old column among them, and the new one as ``became``.
    """
    connection = copy.connection
    expression = f"({using})" if using else quote(old.name)
    source = f"{copy.sql} AS {quote(table.name)}"
    if using:
        # A view depends on the columns that its query names.
        copy.run(
            f"CREATE TEMPORARY VIEW lockstep_using AS SELECT {expression} IS NULL AS value FROM {source}"
        )
        generated = catalog.rows(
            connection,
            """
            SELECT DISTINCT a.attname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class = 'pg_temp.lockstep_using'::regclass
              AND d.refobjid = %(oid)s AND a.attgenerated <> ''
            """,
            oid=copy.oid,
        )
        for (name,) in generated:
            raise LockstepError(
                f"{table}.{old.name}: USING names the generated column {name}, which is not computed yet "
                f"when a row is written. Write its expression in the place of {name}"
            )
    # With the CAST: the one that PostgreSQL adds by itself is not looked at.
    immutable = _is_accepted(
        copy,
        f"ALTER TABLE {copy.sql} ADD COLUMN lockstep_generated {became.type_sql} "
        f"GENERATED ALWAYS AS (CAST({expression} AS {became.type_sql})) STORED",
    )
    # A subquery is not merged into its query where it has a volatile function.
    plan = catalog.scalar(
        connection,
        f"EXPLAIN (FORMAT JSON, COSTS OFF) SELECT FROM (SELECT {expression} AS value FROM {source}) q "
        "WHERE value IS NOT NULL",
    )
    if not immutable and "Subquery Scan" in str(plan):
        raise LockstepError(
            f"{table}.{old.name}: USING has a volatile function: each time it is computed a row would get "
            "another value. Add a column, fill it with op.backfill and drop the old one, or let the table be "
            "locked with `with lockstep.plain():`"
        )
    settings = () if immutable and not using else _settings(connection)
    return Conversion(table, old, became, using, _is_exact(copy, became), immutable, settings)


def _is_exact(copy: Copy, became: Column) -> bool:
    """Whether values that are equal are the same: what a B-tree asks before it keeps one for several
    (PostgreSQL manual, B-Tree Support Functions, equalimage). Not of letters: two collations do not compare.
    """
    return bool(
        catalog.scalar(
            copy.connection,
            """
            SELECT EXISTS (
                SELECT FROM pg_attribute a JOIN pg_opclass o ON o.opcintype = a.atttypid AND o.opcdefault
                JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
                JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = o.opcintype
                 AND p.amprocnum = 4
                WHERE a.attrelid = %(oid)s AND a.attname = %(name)s AND a.attcollation = 0)
            """,
            oid=copy.oid,
            name=became.name,
        )
    )


def _is_accepted(copy: Copy, statement: str) -> bool:
    execute(copy.connection, "SAVEPOINT accepted")
    try:
        copy.run(statement)
    except DBAPIError:
        return False
    else:
        return True
    finally:
        execute(copy.connection, "ROLLBACK TO SAVEPOINT accepted")


#: What decides how a session reads and writes values, and what the names in an expression mean.
_SETTINGS = (
    "DateStyle", "IntervalStyle", "TimeZone", "bytea_output", "default_text_search_config",
    "extra_float_digits", "lc_monetary", "lc_numeric", "lc_time", "quote_all_identifiers", "search_path",
    "timezone_abbreviations", "xmlbinary", "xmloption",
)  # fmt: skip


def _settings(connection: Connection) -> tuple[tuple[str, str], ...]:
    found = catalog.rows(
        connection,
        """
        SELECT name, CASE name WHEN 'search_path' THEN array_to_string(
            ARRAY(SELECT quote_ident(s) FROM unnest(current_schemas(false)) s), ', ') ELSE setting END
        FROM pg_settings WHERE name = ANY (%(names)s) ORDER BY name
        """,
        names=list(_SETTINGS),
    )
    return tuple((row[0], row[1]) for row in found)
