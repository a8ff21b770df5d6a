"""The tables as pending statements leave them, followed statement by statement without running any.

What a table holds by then is a subquery over the table as it is now, its *source*: each statement that is
understood wraps it in another one. What is not understood makes columns, or all rows, unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified, quote
from lockstep.postgres.parser import deparsed
from lockstep.postgres.syntax import function_names, nodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy.engine import Connection

    from lockstep.postgres.syntax import Node

#: Where in the table as it is now a row of a source lies.
PLACE = "lockstep_ctid, lockstep_table"

#: Stands for all columns, whatever a row holds.
EVERYTHING = "*"


@dataclass
class PendingTable:
    """A relation as the statements before leave it."""

    schema: str
    name: str
    real: catalog.Table | None
    """The table as it is now; None for one that does not exist yet."""
    types: dict[str, str] = field(default_factory=dict)
    """Its columns with their types."""
    key: tuple[str, ...] = ()
    source: str = ""
    """A subquery for its rows."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Why a column's values, or those of EVERYTHING, cannot be known before."""
    not_null: set[str] = field(default_factory=set)
    constraints: dict[str, Node | None] = field(default_factory=dict)
    """Those that pending statements have added, with their trees; None: dropped."""
    real_names: dict[str, str] = field(default_factory=dict)
    """What the columns that are there now are called in the catalog."""
    is_dropped: bool = False
    in_doubt: bool = False
    """Whether a DO block may have changed what it has."""

    @property
    def label(self) -> str:
        """As messages name it."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def renamed(self) -> bool:
        """Whether a column has another name than in the catalog."""
        return any(name != real for name, real in self.real_names.items())

    def rows(self, alias: str = "") -> str:
        """What stands after FROM."""
        return f"{self.source} AS {quote(alias or self.name)}"

    def why_unknown(self, columns: Iterable[str]) -> str | None:
        """Why nobody knows what these columns will hold; None where it is known."""
        return next(
            (self.unknown[column] for column in (EVERYTHING, *columns) if column in self.unknown), None
        )

    def compute(self, values: dict[str, str]) -> None:
        """Give columns, old or new, the values of expressions over the row."""
        kept = [quote(column) for column in self.types if column not in values]
        computed = [f"({sql}) AS {quote(column)}" for column, sql in values.items()]
        self.source = f"(SELECT {', '.join([PLACE, *kept, *computed])} FROM {self.rows()})"

    def keep_only(self, condition: str) -> None:
        self.source = f"(SELECT * FROM {self.rows()} WHERE {condition})"

    def rename_column(self, old: str, new: str) -> None:
        others = [quote(column) for column in self.types if column != old]
        self.source = (
            f"(SELECT {', '.join([PLACE, *others, f'{quote(old)} AS {quote(new)}'])} FROM {self.rows()})"
        )
        self.types = {new if column == old else column: value for column, value in self.types.items()}
        self.key = tuple(new if column == old else column for column in self.key)
        self.not_null = {new if column == old else column for column in self.not_null}
        if old in self.unknown:
            self.unknown[new] = self.unknown.pop(old)
        if old in self.real_names:
            self.real_names[new] = self.real_names.pop(old)

    def drop_column(self, name: str) -> None:
        for known in (self.types, self.unknown, self.real_names):
            known.pop(name, None)


class Pending:
    """What the pending statements have done so far."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._searched: str | None = None
        self._path: list[str] = []
        self._relations: dict[tuple[str, str], PendingTable | None] = {}
        self._loaded: list[PendingTable] = []
        self.enums: dict[str, list[str] | None] = {}
        """Types that pending statements have made, with their labels if they are enums; None: dropped."""
        self.implicit: set[str] = set()
        """Tables for which PostgreSQL has chosen names: of sequences, indexes, constraints."""
        self.unfollowed: str | None = None
        """What came before and cannot be followed: it may have changed anything."""

    def look_in(self, search_path: str) -> None:
        """What follows is run with this search_path, which is set."""
        if search_path != self._searched:
            self._searched = search_path
            found = catalog.scalar(self._connection, "SELECT current_schemas(false)::text[]")
            self._path = [str(name) for name in found]

    def find(self, name: str, schema: str | None) -> PendingTable | None:
        """The relation of that name, as PostgreSQL would find it by then."""
        for place in [schema] if schema else self._path:
            known = (place, name)
            if known not in self._relations:
                real = catalog.find_table(self._connection, name, place)
                self._relations[known] = self._load(real) if real else None
            if found := self._relations[known]:
                return found
        return None

    def is_missing(self, name: str) -> bool:
        """Whether it is known that what was not found will not be there by then."""
        return not self.unfollowed and not any(name.startswith(f"{table}_") for table in self.implicit)

    def named_by(self, relation: Node) -> PendingTable | None:
        return self.find(relation["relname"], relation.get("schemaname"))

    def create(self, name: str, schema: str | None, why: str, columns: dict[str, str]) -> PendingTable:
        place = schema or (self._path[0] if self._path else "public")
        made = PendingTable(place, name, None, columns, unknown={EVERYTHING: why})
        self._relations[place, name] = made
        return made

    def drop(self, table: PendingTable) -> None:
        self._relations[table.schema, table.name] = None
        table.is_dropped = True

    def rename(self, table: PendingTable, name: str, schema: str) -> None:
        self._relations[table.schema, table.name] = None
        table.name, table.schema = name, schema
        self._relations[schema, name] = table

    def of_real(self, name: str, schema: str) -> PendingTable | None:
        """The relation that has this name now, whatever it is called by then; None once it is dropped."""
        for table in self._loaded:
            if table.real and (table.real.name, table.real.schema) == (name, schema):
                return None if table.is_dropped else table
        return self.find(name, schema)

    def _load(self, real: catalog.Table) -> PendingTable:
        columns = catalog.columns(self._connection, real.oid)
        only = "ONLY " if real.kind == "r" and not catalog.inherits(self._connection, real) else ""
        named = ", ".join(["ctid AS lockstep_ctid", "tableoid AS lockstep_table", *map(quote, columns)])
        loaded = PendingTable(
            real.schema,
            real.name,
            real,
            {name: column.type_sql for name, column in columns.items()},
            tuple(catalog.primary_key(self._connection, real.oid)),
            f"(SELECT {named} FROM {only}{real.sql})",
            not_null={name for name, column in columns.items() if column.not_null},
            real_names={name: name for name in columns},
        )
        self._loaded.append(loaded)
        return loaded

    def can_be_followed(self, *trees: Any) -> bool:
        """Whether expressions give the same whenever they are asked: no subquery, parameter or volatile
        function.
        """
        if any(True for _ in nodes(list(trees), "SubLink", "ParamRef")):
            return False
        called = {parts[-1] for parts in function_names(list(trees))}
        return not called or not catalog.scalar(
            self._connection,
            "SELECT count(*) <> 0 OR (SELECT count(DISTINCT proname) FROM pg_proc "
            "WHERE proname = ANY (%(names)s)) < %(number)s "
            "FROM pg_proc WHERE proname = ANY (%(names)s) AND provolatile = 'v'",
            names=list(called),
            number=len(called),
        )


def columns_of(tree: Any, table: PendingTable) -> list[str]:
    """The columns that an expression over a row speaks of."""
    found: dict[str, None] = {}
    for reference in nodes(tree, "ColumnRef"):
        last = reference["fields"][-1]
        if "String" not in last or last["String"]["sval"] == table.name:
            found.update(dict.fromkeys(table.types))
        else:
            found[last["String"]["sval"]] = None
    return list(found)


def expression(tree: Node) -> str:
    """An expression as SQL."""
    select = {"targetList": [{"ResTarget": {"val": tree}}], "limitOption": "LIMIT_OPTION_DEFAULT"}
    return deparsed({"SelectStmt": {**select, "op": "SETOP_NONE"}}).removeprefix("SELECT ")


def type_sql(type_name: Node) -> str:
    """A type as SQL."""
    null = {"A_Const": {"isnull": True}}
    return expression({"TypeCast": {"arg": null, "typeName": type_name}}).removeprefix("NULL::")


def missing(table: PendingTable, columns: Collection[str]) -> list[str]:
    """Those of the columns that the table does not have."""
    return [column for column in columns if column not in table.types]


def name_of(parts: tuple[str, ...]) -> str:
    """A qualified name in SQL."""
    return qualified(parts[-1], parts[-2] if len(parts) > 1 else None)
