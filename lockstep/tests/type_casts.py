"""Every change of type that PostgreSQL makes without being told how, asked of the server at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Texts that some type or other takes for a value; the server is asked which.
TEXTS = (
    "0", "1", "-1", "2", "12", "300", "40000", "70000", "3000000000", "1.5", "2.25", "-7.125", "1234.5678",
    "1e10", "1e300", "NaN", "t", "f", "a", "ab", "abcd ef", "abc   ", "Zoë", "B", "it's", "0101", "10100101",
    "1011010111010010", "2024-02-29", "1999-12-31 23:59:59.987654", "2024-06-01 12:00:00.5+02",
    "23:59:59.123456", "12:30:15.5+01", "1 year 2 mons 3 days 04:05:06.789", "24:00:00", "1 day",
    "$1.25", "10.1.2.3", "10.1.2.0/24", "::1", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "{}", "{1,2}", '{"a": 1}', '{"a": [1, null]}', "[1,2]", '"x"',
    "<a/>", "(1,2)", "(1,2),(3,4)", "[(1,2),(3,4)]", "((0,0),(0,3),(4,0))", "<(1,2),3>", "{1,2,3}",
    "$.a", "a & b", "a b c", "0/16B3748", "pg_class", "pg_type", "int4", "pg_catalog", "postgres", "C",
    "english", "simple", "10:20:10,14,15", "[1,5)", "[2024-01-01,2024-02-01)", "(0,1)", "\\x0102ff",
)  # fmt: skip

#: Modifiers that some type or other takes; the server is asked which.
MODIFIERS = ("(0)", "(3)", "(8)", "(10,2)", "(10,4)")

#: What the casts need besides, in the schema that they are tried and run in.
TYPES = """
CREATE TYPE mood AS ENUM ('a', 'B', 'ab');
CREATE DOMAIN small AS integer CHECK (VALUE < 30000);
"""


@dataclass(frozen=True)
class Cast:
    """A change of type: how to go and how to come back, and what values do on the way."""

    old: str
    new: str
    using: str
    """The USING that it cannot do without; "" where it needs none."""
    back: str | None
    """The USING of the way back; "" where it needs none, None where there is no way back."""
    good: tuple[str, ...]
    """Values, as literals, that go and come back without an error (they may be rounded)."""
    bad: str | None
    """A value that the new type refuses."""

    @property
    def name(self) -> str:
        return f"{self.old} -> {self.new}"


def pairs(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """The assignment casts between built-in types, all to text, between modifiers; some arrays, domains and
    collations, of which there is no end.
    """
    found = connection.execute(
        """
        SELECT format_type(castsource, NULL), format_type(casttarget, NULL)
        FROM pg_cast c JOIN pg_type s ON s.oid = castsource JOIN pg_type t ON t.oid = casttarget
        WHERE castcontext IN ('a', 'i') AND s.typtype IN ('b', 'r', 'm') AND t.typtype IN ('b', 'r', 'm')
          AND castsource <> casttarget AND '"char"'::regtype NOT IN (castsource, casttarget)
          AND s.typnamespace = 'pg_catalog'::regnamespace AND t.typnamespace = 'pg_catalog'::regnamespace
        UNION SELECT format_type(oid, NULL), 'text' FROM pg_type
        WHERE typtype IN ('b', 'r', 'm') AND typnamespace = 'pg_catalog'::regnamespace
          AND oid <> 'text'::regtype AND typcategory NOT IN ('A', 'Z')
        ORDER BY 1, 2
        """
    ).fetchall()
    chosen = [(str(old), str(new)) for old, new in found]
    for (name,) in connection.execute(
        "SELECT format_type(oid, NULL) FROM pg_type WHERE typmodin <> 0 AND typcategory <> 'A' ORDER BY 1"
    ).fetchall():
        forms = [name, *filter(None, (_with(connection, name, modifier) for modifier in MODIFIERS))]
        chosen += [(one, other) for one in forms for other in forms if one != other]
    return [
        *chosen,
        ("interval", "interval day to minute"), ("interval", "interval second(2)"),
        ("interval", "interval year"), ("interval second(6)", "interval second(0)"),
        ("integer[]", "bigint[]"), ("numeric(10,4)[]", "numeric(10,2)[]"), ("text[]", "varchar(3)[]"),
        ("varchar(200)", "numeric(12,3)"), ("text", "mood"), ("mood", "text"), ("integer", "small"),
        ("small", "bigint"), ("text", "integer"), ("text", "jsonb"), ("text", "timestamp with time zone"),
        ("timestamp(6) with time zone", "date"), ("double precision", "numeric(10,2)"),
        ('text COLLATE "C"', 'text COLLATE "POSIX"'), ("text", 'varchar(20) COLLATE "C"'),
        ('varchar(200) COLLATE "C"', "text"), ("integer", 'text COLLATE "C"'),
    ]  # fmt: skip


def _with(connection: psycopg.Connection, name: str, modifier: str) -> str | None:
    """The type with a modifier, as the server takes it; None where it does not."""
    head, space, rest = name.partition(" ")
    form = f"{head}{modifier}{space}{rest}" if rest.endswith("time zone") else f"{name}{modifier}"
    return form if _works(connection, f"SELECT NULL::{form}") else None


def _works(connection: psycopg.Connection, *statements: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            for statement in statements:
                connection.execute(statement)
    except psycopg.Error:
        return False
    return True


def tried(connection: psycopg.Connection, chosen: Iterable[tuple[str, str]]) -> Iterator[Cast]:
    """The casts of these pairs with what values do in them, each tried by the plain statements."""
    for old, new in chosen:
        explicit = f"v::{new.partition(' COLLATE')[0]}"
        make = f"CREATE TEMPORARY TABLE one (v {old})"
        values = [_literal(text) for text in TEXTS]
        values = [value for value in values if _works(connection, make, _insert(value))]
        for using in ("", explicit):
            there = _using(f"ALTER TABLE one ALTER v TYPE {new}", using)
            if not _works(connection, make, there):
                continue
            good = [value for value in values if _works(connection, make, _insert(value), there)]
            if good:
                bad = next((value for value in values if value not in good), None)
                yield _with_way_back(connection, Cast(old, new, using, None, tuple(good), bad), [make, there])
                break


def _with_way_back(connection: psycopg.Connection, cast: Cast, there: list[str]) -> Cast:
    """The cast with the first way back that some of its values come by."""
    old = cast.old.partition(" COLLATE")[0]
    for way in ("", f"v::{old}", f"v::text::{old}"):
        home = _using(f"ALTER TABLE one ALTER v TYPE {cast.old}", way)
        good = [value for value in cast.good if _works(connection, there[0], _insert(value), there[1], home)]
        if good:
            return replace(cast, back=way, good=tuple(good))
    return cast


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _insert(value: str) -> str:
    return f"INSERT INTO one VALUES ({value})"


def _using(statement: str, expression: str) -> str:
    return f"{statement} USING {expression}" if expression else statement
