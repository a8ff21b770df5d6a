"""The names that a revision takes from tables and columns, and those that it gives them.

What is kept has the name that it had when it was kept. The revision's function runs from its start each time,
so the list is the same after a stop, as far as it has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lockstep.postgres.statements import Classified

#: Schema, table and column; a table has no column.
Name = tuple[str, str, str | None]


@dataclass(frozen=True)
class Rename:
    """A table, or a column of it, has another name or is in another schema from now on."""

    schema: str | None
    """None: wherever the search path finds it."""
    table: str
    column: str | None = None
    new_schema: str | None = None
    """None: the same one."""
    new_name: str | None = None
    """Of the column, or of the table; None: the same one."""

    def forth(self, name: Name, path: Sequence[str]) -> Name:
        """The name that something has afterwards."""
        schema, table, column = name
        if not self._is_in(schema, self.schema, path) or table != self.table:
            return name
        if self.column is not None:
            return (schema, table, self.new_name) if column == self.column else name
        return (self.new_schema or schema, self.new_name or table, column)

    def back(self, name: Name, path: Sequence[str]) -> Name:
        """The name that something had before."""
        schema, table, column = name
        if self.column is not None:
            there = self._is_in(schema, self.schema, path) and table == self.table
            return (schema, table, self.column) if there and column == self.new_name else name
        if table != (self.new_name or self.table):
            return name
        if not self._is_in(schema, self.new_schema or self.schema, path):
            return name
        was_in = self.schema or (path[0] if self.new_schema and path else schema)
        return (was_in, self.table, column)

    @staticmethod
    def _is_in(schema: str, named: str | None, path: Sequence[str]) -> bool:
        return schema == named if named else schema in path


def later(renames: Sequence[Rename], name: Name, path: Sequence[str]) -> Name:
    """The name that something has after all of these."""
    for one in renames:
        name = one.forth(name, path)
    return name


def earlier(renames: Sequence[Rename], name: Name, path: Sequence[str]) -> Name:
    """The name that something had before all of these."""
    for one in reversed(renames):
        name = one.back(name, path)
    return name


def written(classified: Classified) -> Iterator[Rename]:
    """The renames that SQL of the revision's own spells out."""
    for statement in classified.statements:
        kind = statement.node[0]
        if kind not in {"RenameStmt", "AlterObjectSchemaStmt"}:
            continue
        fields = statement.fields
        relation = fields.get("relation", {})
        table, schema = relation.get("relname"), relation.get("schemaname")
        if table is None:
            continue
        if kind == "AlterObjectSchemaStmt" and fields.get("objectType") == "OBJECT_TABLE":
            yield Rename(schema, table, new_schema=fields["newschema"])
        elif fields.get("renameType") == "OBJECT_TABLE":
            yield Rename(schema, table, new_name=fields["newname"])
        elif (fields.get("renameType"), fields.get("relationType")) == ("OBJECT_COLUMN", "OBJECT_TABLE"):
            yield Rename(schema, table, fields["subname"], new_name=fields["newname"])
