"""What the catalog says about a table, as far as the operations need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.postgres import sizes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

#: PostgreSQL's NAMEDATALEN - 1, in bytes.
LONGEST_NAME = 63


def quote(name: str) -> str:
    """An SQL identifier, always quoted."""
    return '"' + name.replace('"', '""') + '"'


def qualified(name: str, schema: str | None) -> str:
    """A relation's name in SQL, with its schema where one is given."""
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def literal(text: str) -> str:
    """An SQL string constant that means the same whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return " E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else "'" + escaped + "'"


def rows(connection: Connection, statement: str, **values: Any) -> list[Any]:
    """Run one of Lockstep's own catalog queries; values by name, as ``%(name)s``."""
    if values:
        return list(connection.exec_driver_sql(statement, values))
    return list(connection.exec_driver_sql(statement, execution_options={"no_parameters": True}))


def scalar(connection: Connection, statement: str, **values: Any) -> Any:
    """The first column of the first row, None without one."""
    found = rows(connection, statement, **values)
    return found[0][0] if found else None


@dataclass(frozen=True)
class Table:
    """A table that exists: its identity and what decides how it may be changed."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r ordinary, p partitioned, f foreign, v view …"""
    is_partition: bool
    size: int | None = field(default=None, compare=False)
    """Bytes of its heap and TOAST when it was looked at; None where nobody asked, and where others hold its
    rows.
    """

    @property
    def sql(self) -> str:
        """The qualified name, quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


#: What ``table_of`` reads of ``pg_class c``. Without a join: it is asked before most operations, and planned
#: anew each time.
TABLE = """
c.oid, c.relnamespace::regnamespace::text AS schema, c.relname, c.relkind, c.relispartition,
CASE c.relkind WHEN 'r' THEN pg_relation_size(c.oid)
     + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) END AS size
"""


def table_of(row: Any) -> Table:
    """The table that a row with ``TABLE`` is about."""
    size = sizes.assumed_size(row.oid)
    return Table(
        row.oid, _unquoted(row.schema), row.relname, _text(row.relkind), row.relispartition,
        row.size if size is None else size,
    )  # fmt: skip


def find_table(connection: Connection, name: str, schema: str | None) -> Table | None:
    """The table of that name, looked up as PostgreSQL would; None where there is none."""
    found = rows(
        connection,
        f"SELECT {TABLE} FROM pg_class c WHERE c.oid = to_regclass(%(name)s)",
        name=qualified(name, schema),
    )
    return table_of(found[0]) if found else None


def _unquoted(name: str) -> str:
    """A name as the catalog has it, from one as SQL writes it."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def inherits(connection: Connection, table: Table) -> bool:
    """Whether a table has parents or children, by partitioning or by plain inheritance."""
    either = "SELECT EXISTS (SELECT FROM pg_inherits WHERE %(oid)s IN (inhrelid, inhparent))"
    return bool(scalar(connection, either, oid=table.oid))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    number: int
    name: str
    type_sql: str
    not_null: bool
    default: str | None
    identity: str
    generated: str
    collation: str = ""
    """COLLATE and its name, where it is not the type's own."""

    @property
    def definition(self) -> str:
        """The type with the collation, as ADD COLUMN takes it."""
        return f"{self.type_sql} {self.collation}".rstrip()


def columns(connection: Connection, oid: int) -> dict[str, Column]:
    """The columns of a table by name, in their order."""
    found = rows(
        connection,
        """
        SELECT a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
               CASE WHEN c.oid IS NULL THEN '' ELSE format('COLLATE %%I.%%I', n.nspname, c.collname) END
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_collation c ON c.oid = a.attcollation AND a.attcollation <> t.typcollation
        LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
        WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """,
        oid=oid,
    )
    return {
        row[1]: Column(row[0], row[1], row[2], row[3], row[4], _text(row[5]), _text(row[6]), row[7])
        for row in found
    }


#: A table larger than this is not searched for a first row: dead rows could make that long.
_LOOK_BYTES = 8 * 1024 * 1024


def is_empty(connection: Connection, table: Table, *, however_large: bool = False) -> bool:
    """True where the table surely has no rows.

    A large one that only has dead rows counts as filled, unless it is to be read ``however_large``. One of
    which a policy may hide rows always does.
    """
    of = [table, *leaves(connection, table)] if sizes.are_assumed() and table.kind == "p" else [table]
    if any(sizes.assumed_size(one.oid) for one in of):
        return False
    size, is_hidden = rows(
        connection,
        "SELECT sum(pg_relation_size(relid)), row_security_active(%(oid)s::oid) "
        "FROM pg_partition_tree(%(oid)s)"
        if table.kind == "p"
        else "SELECT pg_relation_size(%(oid)s), row_security_active(%(oid)s::oid)",
        oid=table.oid,
    )[0]
    if size is None or (size > _LOOK_BYTES and not however_large):
        return False
    if size == 0:
        return True
    return not is_hidden and not scalar(connection, f"SELECT EXISTS (SELECT FROM {table.sql})")


def default_name(connection: Connection, table: Table, parts: Iterable[str], label: str) -> str:
    """The name that PostgreSQL itself would choose for a constraint or index.

    As ``makeObjectName`` and ``ChooseConstraintName`` do it: table, columns and a label, the longer of the
    first two shortened until it fits, then a number until nobody has it.
    """
    taken = {
        row[0]
        for row in rows(
            connection,
            """
            SELECT relname FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
            UNION ALL SELECT conname FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace
            """,
            schema=quote(table.schema),
        )
    }
    middle = "_".join(parts)
    number = 0
    while True:
        chosen = _object_name(table.name, middle, label + (str(number) if number else ""))
        if chosen not in taken:
            return chosen
        number += 1


def _object_name(first: str, second: str, label: str) -> str:
    room = LONGEST_NAME - len(label.encode()) - 1 - (1 if second else 0)
    one, two = first.encode(), second.encode()
    length_one, length_two = len(one), len(two)
    while length_one + length_two > room:
        if length_one > length_two:
            length_one -= 1
        else:
            length_two -= 1
    shortened = [one[:length_one], *([two[:length_two]] if second else [])]
    return "_".join([*(part.decode(errors="ignore") for part in shortened), label])


def server_version(connection: Connection) -> int:
    """The major version of the server."""
    return int(scalar(connection, "SHOW server_version_num")) // 10000


def partitions(connection: Connection, table: Table) -> list[Table]:
    """The partitions directly below a partitioned table, in the order of their oids."""
    found = rows(
        connection,
        """
        SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispartition
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = %(oid)s ORDER BY c.oid
        """,
        oid=table.oid,
    )
    return [Table(row[0], row[1], row[2], _text(row[3]), row[4]) for row in found]


def clip(name: str) -> str:
    """A name as PostgreSQL keeps it: cut to 63 bytes."""
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


#: The least and the greatest value of the types that a sequence can have.
_BOUNDS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


def identity_options(connection: Connection, oid: int, number: int, new_type: str | None = None) -> str:
    """``BY DEFAULT AS IDENTITY (SEQUENCE NAME {name} …)``, with the name left open.

    With ``new_type`` as ALTER COLUMN … TYPE leaves it: a bound that is the old type's becomes the new one's.
    """
    kind, typed, increment, least, most, start, cache, cycle = rows(
        connection,
        """
        SELECT CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.seqtypid::regtype::text,
               s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, s.seqcycle
        FROM pg_attribute a
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
             AND d.refobjsubid = a.attnum AND d.deptype = 'i' AND d.classid = 'pg_class'::regclass
        JOIN pg_sequence s ON s.seqrelid = d.objid
        WHERE a.attrelid = %(oid)s AND a.attnum = %(number)s
        """,
        oid=oid,
        number=number,
    )[0]
    if new_type in _BOUNDS:
        most = _BOUNDS[new_type] - 1 if most == _BOUNDS[typed] - 1 else most
        least = -_BOUNDS[new_type] if least == -_BOUNDS[typed] else least
    return (
        f"{kind} AS IDENTITY (SEQUENCE NAME {{name}} INCREMENT BY {increment} MINVALUE {least} "
        f"MAXVALUE {most} START WITH {start} CACHE {cache} {'CYCLE' if cycle else 'NO CYCLE'})"
    )


def leaves(connection: Connection, table: Table) -> list[Table]:
    """The partitions of a partitioned table that hold rows, at any depth."""
    found: list[Table] = []
    for child in partitions(connection, table):
        found += leaves(connection, child) if child.kind == "p" else [child]
    return found


def primary_key(connection: Connection, oid: int) -> list[str]:
    """The columns of the primary key in order; empty without one."""
    return [
        row[0]
        for row in rows(
            connection,
            """
            SELECT a.attname FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, position)
            JOIN pg_attribute a ON a.attnum = k.attnum
            WHERE i.indrelid = %(oid)s AND a.attrelid = i.indrelid AND i.indisprimary
              AND k.position <= i.indnkeyatts ORDER BY k.position
            """,
            oid=oid,
        )
    ]


def row_type_users(connection: Connection, oid: int) -> list[str]:
    """The columns, anywhere, that hold whole rows of a table: of its row type, arrays, domains and ranges of
    it, and types that contain one of these. PostgreSQL does not rewrite a table that has such columns.
    """
    found = rows(
        connection,
        """
        WITH RECURSIVE holds(type) AS (
            SELECT reltype FROM pg_class WHERE oid = %(oid)s AND reltype <> 0
            UNION SELECT w.type FROM holds h, LATERAL (
                SELECT oid FROM pg_type WHERE typelem = h.type OR typbasetype = h.type
                UNION ALL SELECT rngtypid FROM pg_range WHERE rngsubtype = h.type
                UNION ALL SELECT rngmultitypid FROM pg_range WHERE rngtypid = h.type
                UNION ALL SELECT c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                WHERE a.atttypid = h.type AND NOT a.attisdropped AND c.reltype <> 0 AND a.attnum > 0
            ) w(type)
        )
        SELECT DISTINCT format('%%I.%%I.%%I', n.nspname, c.relname, a.attname)
        FROM holds h JOIN pg_attribute a ON a.atttypid = h.type AND NOT a.attisdropped
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm', 'f')
        JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1
        """,
        oid=oid,
    )
    return [row[0] for row in found]
