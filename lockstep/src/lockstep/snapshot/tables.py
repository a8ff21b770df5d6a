"""Tables as data, for who shows them: columns in their order, constraints, indexes, references, sizes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.snapshot.relations import SCHEMAS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclass(frozen=True)
class Column:
    """A column as its table has it."""

    name: str
    type: str
    not_null: bool
    default: str | None
    """Its default, or what it is generated from, as SQL."""
    generated: bool
    in_primary_key: bool
    refers: bool
    """Whether it is a part of a foreign key."""
    comment: str | None


@dataclass(frozen=True)
class Constraint:
    """A constraint, without NOT NULL: that is said with the column."""

    name: str
    kind: str
    """primary key, foreign key, unique, check or exclusion."""
    definition: str
    valid: bool


@dataclass(frozen=True)
class Index:
    """An index that is of no constraint, or that of one."""

    name: str
    definition: str
    valid: bool
    of_constraint: bool
    bytes: int


@dataclass(frozen=True)
class Reference:
    """A foreign key, from the table that has it."""

    constraint: str
    columns: list[str]
    table: str
    """The table that it refers to, as `Table.id`."""
    referred_columns: list[str]


@dataclass(frozen=True)
class Table:
    """A table."""

    schema: str
    name: str
    rows: int | None
    """As PostgreSQL estimates; None where it was never analyzed."""
    bytes: int
    """With its indexes and TOAST."""
    comment: str | None
    columns: list[Column] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What others name it by."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_RELATION = f"""{SCHEMAS}, relation AS MATERIALIZED (
    SELECT c.oid, s.nspname::text AS schema, c.relname::text AS name, c.reltuples
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND c.oid <> %(without)s
      AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
)
"""

_TABLES = """
SELECT r.oid::int8, schema, name, CASE WHEN reltuples >= 0 THEN reltuples ELSE n_live_tup END::int8,
    pg_total_relation_size(r.oid), obj_description(r.oid, 'pg_class')
FROM relation r LEFT JOIN pg_stat_all_tables s ON s.relid = r.oid ORDER BY schema, name
"""

_COLUMNS = """
SELECT r.oid::int8, attname::text, format_type(atttypid, atttypmod), attnotnull,
    CASE WHEN attidentity <> '' THEN 'identity' ELSE pg_get_expr(adbin, adrelid) END, attgenerated <> '',
    EXISTS (SELECT FROM pg_constraint WHERE conrelid = r.oid AND contype = 'p' AND attnum = ANY (conkey)),
    EXISTS (SELECT FROM pg_constraint WHERE conrelid = r.oid AND contype = 'f' AND attnum = ANY (conkey)),
    col_description(r.oid, attnum)
FROM relation r JOIN pg_attribute a ON attrelid = r.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = r.oid AND adnum = attnum ORDER BY r.oid, attnum
"""

_CONSTRAINTS = """
SELECT r.oid::int8, conname::text, CASE contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key'
    WHEN 'u' THEN 'unique' WHEN 'c' THEN 'check' ELSE 'exclusion' END,
    pg_get_constraintdef(k.oid), convalidated
FROM relation r JOIN pg_constraint k ON conrelid = r.oid WHERE contype IN ('p', 'f', 'u', 'c', 'x')
ORDER BY r.oid, strpos('pufcx', contype::text), conname
"""

_INDEXES = """
SELECT r.oid::int8, c.relname::text, pg_get_indexdef(indexrelid), indisvalid,
    EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x')),
    pg_relation_size(indexrelid)
FROM relation r JOIN pg_index ON indrelid = r.oid JOIN pg_class c ON c.oid = indexrelid
ORDER BY r.oid, c.relname
"""

_REFERENCES = """
SELECT r.oid::int8, conname::text, ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k (n, at)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY at),
    confrelid::int8, ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k (n, at)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY at)
FROM relation r JOIN pg_constraint ON conrelid = r.oid WHERE contype = 'f' AND conparentid = 0
ORDER BY r.oid, conname
"""


def read(connection: Connection, version_table: str, schema: str | None = None) -> list[Table]:
    """The tables that there are, without Alembic's version table, Lockstep's own and partitions.

    Reads the catalog alone, in the connection's transaction. PostgreSQL waits for who has a table locked
    against everything before it tells its size and its expressions: set a ``lock_timeout``.
    """
    name = catalog.qualified(version_table, schema)
    without = catalog.scalar(connection, "SELECT coalesce(to_regclass(%(name)s)::oid, 0)::int8", name=name)

    def ask(query: str) -> list[Any]:
        return catalog.rows(connection, _RELATION + query, without=without)

    parts: dict[str, dict[int, list[Any]]] = {}
    for kind, query in (("columns", _COLUMNS), ("constraints", _CONSTRAINTS), ("indexes", _INDEXES)):
        parts[kind] = defaultdict(list)
        for oid, *values in ask(query):
            parts[kind][oid].append(values)
    found: dict[int, Table] = {}
    for oid, namespace, table, rows, size, comment in ask(_TABLES):
        found[oid] = Table(
            namespace, table, rows, size, comment,
            [Column(*each) for each in parts["columns"][oid]],
            [Constraint(*each) for each in parts["constraints"][oid]],
            [Index(*each) for each in parts["indexes"][oid]],
        )  # fmt: skip
    for oid, constraint, columns, referred, referred_columns in ask(_REFERENCES):
        if referred in found:  # not a partition
            reference = Reference(constraint, columns, found[referred].id, referred_columns)
            found[oid].references.append(reference)
    return list(found.values())
