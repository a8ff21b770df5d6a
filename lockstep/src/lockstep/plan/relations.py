"""The relations of a database by their numbers, so that a table is known again whatever it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lockstep.plan.operation import Change, TableName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Ask = Callable[[str], list[Any]]


class Column(NamedTuple):
    """A column as a program knows it."""

    name: str
    type: str
    type_oid: int
    type_modifier: int
    not_null: bool
    has_value: bool
    """Whether an INSERT may leave it out: it has a default, or is generated."""


@dataclass
class Relation:
    """A relation that was there before the first revision of the plan."""

    oid: int
    table: TableName
    """Its own name then; of an index, that of its table."""
    index: str | None
    kind: str
    filenode: int
    now: TableName
    """What it is called now."""
    columns: dict[int, Column]


#: pg_class.relkind of what holds rows.
WITH_ROWS = frozenset({"r", "p", "m", "f"})

_RELATIONS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text,
       coalesce(pg_relation_filenode(c.oid), 0)::int8, tn.nspname::text, t.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
LEFT JOIN pg_class t ON t.oid = i.indrelid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S')
  AND n.nspname NOT IN ('information_schema', 'lockstep', 'lockstep_archive') AND n.nspname !~ '^pg_'
"""

_COLUMNS = """
SELECT a.attrelid::int8, a.attnum::int, a.attname::text, format_type(a.atttypid, a.atttypmod),
       a.atttypid::int8, a.atttypmod, a.attnotnull,
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid
"""


def relations(ask: Ask, version_table: TableName) -> dict[int, Relation]:
    """Those that there are, but for Alembic's and Lockstep's own and PostgreSQL's."""
    found = {}
    for oid, schema, name, kind, filenode, table_schema, table_name in ask(_RELATIONS):
        own, of = TableName(schema, name), TableName(table_schema or schema, table_name or name)
        if of != version_table:
            index = name if table_name else None
            found[oid] = Relation(oid, of, index, kind, filenode, own, {})
    for oid, columns in _columns(ask, found).items():
        found[oid].columns = columns
    return found


def _columns(ask: Ask, known: Iterable[int]) -> dict[int, dict[int, Column]]:
    found: dict[int, dict[int, Column]] = {}
    of = ", ".join(str(oid) for oid in known) or "0"
    for oid, number, *rest in ask(f"{_COLUMNS} IN ({of})"):
        found.setdefault(oid, {})[number] = Column(*rest)
    return found


def changes(ask: Ask, known: list[Relation]) -> list[Change]:
    """What is other in these relations than it was when they were looked at last."""
    tables = {one.oid: one for one in known if one.index is None and one.kind != "S"}
    if not tables:
        return []
    of = ", ".join(str(oid) for oid in tables)
    names = {
        oid: TableName(schema, name)
        for oid, schema, name in ask(
            "SELECT c.oid::int8, n.nspname::text, c.relname::text FROM pg_class c "
            f"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN ({of})"
        )
    }
    columns = _columns(ask, tables)
    widened = _widening(ask)
    found: list[Change] = []
    for oid, one in tables.items():
        found += _changes(one, names.get(oid), columns.get(oid, {}), widened)
    return found


_NUMERIC = 1700


def _digits(column: Column) -> tuple[int, int]:
    """How many digits a numeric(…) has before the point and after it."""
    precision, scale = divmod(column.type_modifier - 4, 65536)
    return precision - scale, scale


def _widening(ask: Ask) -> Callable[[Column, Column], bool]:
    """Whether every value of a column as it was is one of the column as it is now."""

    def is_wider(old: Column, new: Column) -> bool:
        if old.type_oid == new.type_oid == _NUMERIC and -1 not in {old.type_modifier, new.type_modifier}:
            return all(o <= n for o, n in zip(_digits(old), _digits(new), strict=True))
        if old.type_oid == new.type_oid:
            return new.type_modifier == -1 or -1 < old.type_modifier <= new.type_modifier
        return new.type_modifier == -1 and bool(
            ask(
                f"SELECT 1 FROM pg_cast WHERE castsource = {old.type_oid} AND casttarget = {new.type_oid} "
                "AND castcontext = 'i'"
            )
        )

    return is_wider


def _changes(
    one: Relation,
    name: TableName | None,
    columns: dict[int, Column],
    is_wider: Callable[[Column, Column], bool],
) -> Iterator[Change]:
    before, one.columns = one.columns, columns
    if name is None:
        rows = one.kind in WITH_ROWS - {"f"}
        yield Change(one.table, f"{one.now} is dropped", breaks=True, loses=rows)
        return
    if name != one.now:
        yield Change(one.table, f"{one.now} becomes {name}", breaks=True)
        one.now = name
    for number, old in before.items():
        new = columns.get(number)
        column = f"{one.now}.{old.name}"
        if new is None:
            yield Change(one.table, f"{column} is dropped", breaks=True, loses=one.kind in WITH_ROWS)
            continue
        if new.name != old.name:
            yield Change(one.table, f"{column} becomes {new.name}", breaks=True)
        if new[2:4] != old[2:4]:
            wider = is_wider(old, new)
            how = "" if wider else ", which not every value fits"
            yield Change(one.table, f"{column}: {old.type} becomes {new.type}{how}", breaks=not wider)
        if new.not_null and not old.not_null:
            yield Change(one.table, f"{column} refuses NULL", breaks=True)
        if old.has_value and not new.has_value and new.not_null:
            yield Change(one.table, f"{column} has no default any more: an INSERT names it", breaks=True)
    for number, new in columns.items():
        if number not in before and new.not_null and not new.has_value:
            yield Change(one.table, f"an INSERT into {one.now} has to name {new.name}", breaks=True)
