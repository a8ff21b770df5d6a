"""Statements that lock a table for as long as it takes to read or rewrite it, and what to write instead."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.functions import with_bodies
from lockstep.postgres.parser import ParseError, aimed_at
from lockstep.postgres.rehearsal import rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.postgres.statements import Classified, Statement
    from lockstep.postgres.syntax import Node


@dataclass(frozen=True)
class Heavy:
    """One thing that a statement does to a table under a lock."""

    table: Table
    does: str
    instead: str
    """What is written in its place; empty where there is no other way."""


def refuse_heavy(
    connection: Connection,
    name: str,
    classified: Classified,
    in_use: Callable[[str, str | None], Table | None],
) -> None:
    """Raise LockstepError for the first heavy thing that a text does, or a function that it calls; ``in_use``
    gives a table where its size makes it matter.
    """
    for statement in with_bodies(connection, classified).statements:
        for heavy in _of(connection, statement, in_use):
            instead = f"Write {heavy.instead} in its place, or let" if heavy.instead else "Let"
            raise LockstepError(
                f"{name}: it {heavy.does} {heavy.table} under a lock, for as long as that takes. "
                f"{instead} the table be locked with `with lockstep.plain():`"
            )


def _of(
    connection: Connection, statement: Statement, in_use: Callable[[str, str | None], Table | None]
) -> Iterator[Heavy]:
    node, fields = statement.node[0], statement.fields

    def table_of(relation: Node | None) -> Table | None:
        return in_use(relation["relname"], relation.get("schemaname")) if relation else None

    if node == "IndexStmt" and not fields.get("concurrent"):
        if table := table_of(fields["relation"]):
            yield Heavy(table, "builds an index on", f'op.create_index(…, "{table.name}", …)')
    elif node == "ReindexStmt" and not _has_option(fields.get("params"), "concurrently"):
        if table := table_of(fields.get("relation") if fields["kind"] == "REINDEX_OBJECT_TABLE" else None):
            yield Heavy(table, "builds all indexes anew on", f"REINDEX TABLE CONCURRENTLY {table} {_BLOCK}")
    elif node == "ClusterStmt":
        if table := table_of(fields.get("relation")):
            yield Heavy(table, "rewrites", "")
    elif node == "VacuumStmt" and _has_option(fields.get("options"), "full"):
        for one in fields.get("rels", ()):
            if table := table_of(one["VacuumRelation"].get("relation")):
                yield Heavy(table, "rewrites", f"VACUUM {table} {_BLOCK}")
    elif (
        node == "AlterTableStmt"
        and fields["objtype"] == "OBJECT_TABLE"
        and (table := table_of(fields["relation"]))
    ):
        yield from _alter_table(connection, table, statement)


#: What cannot be tried on a temporary copy.
_REWRITING = {"AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod", "AT_SetTableSpace"}

_BLOCK = "in an op.get_context().autocommit_block()"


def _has_option(options: Any, name: str) -> bool:
    return any(option["DefElem"]["defname"] == name for option in options or ())


def _alter_table(connection: Connection, table: Table, statement: Statement) -> Iterator[Heavy]:
    commands = [command["AlterTableCmd"] for command in statement.fields.get("cmds", ())]
    columns = catalog.columns(connection, table.oid)
    for command in commands:
        definition: Node = command.get("def", {})
        column = columns.get(command.get("name", ""))
        if command["subtype"] == "AT_SetNotNull" and column is not None and not column.not_null:
            if not _is_proved(connection, table, column.number):
                write = f'op.alter_column("{table.name}", "{column.name}", nullable=False)'
                yield Heavy(table, "reads all of", write)
        elif command["subtype"] in _REWRITING:
            yield Heavy(table, "rewrites", "")
        elif command["subtype"] == "AT_AddConstraint" and "Constraint" in definition:
            yield from _constraint(table, definition["Constraint"])
    if _rewrites(connection, table, statement.text):
        yield Heavy(table, "rewrites", _instead_of_rewriting(table, commands))


#: A validated CHECK (column IS NOT NULL), which lets SET NOT NULL skip its scan.
_PROOF = """
SELECT EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'c' AND convalidated
      AND conkey = ARRAY[%(number)s]::int2[]
      AND pg_get_constraintdef(oid) ~ '^CHECK \\(\\(.* IS NOT NULL\\)\\)$')
"""


def _is_proved(connection: Connection, table: Table, number: int) -> bool:
    return bool(catalog.scalar(connection, _PROOF, oid=table.oid, number=number))


def _constraint(table: Table, constraint: Node) -> Iterator[Heavy]:
    kind = constraint["contype"]
    if kind in {"CONSTR_UNIQUE", "CONSTR_PRIMARY"}:
        if "indexname" not in constraint:
            operation = "create_primary_key" if kind == "CONSTR_PRIMARY" else "create_unique_constraint"
            yield Heavy(table, "builds an index on", f'op.{operation}(…, "{table.name}", …)')
    elif kind == "CONSTR_EXCLUSION":
        yield Heavy(table, "builds an index on", "")
    elif kind in _VALIDATED and not constraint.get("skip_validation"):
        yield Heavy(table, "reads all of", _VALIDATED[kind].format(table=table.name))


_VALIDATED = {
    "CONSTR_FOREIGN": 'op.create_foreign_key(…, "{table}", …)',
    "CONSTR_CHECK": 'op.create_check_constraint(…, "{table}", …)',
    "CONSTR_NOTNULL": 'op.alter_column("{table}", …, nullable=False)',
}


def _instead_of_rewriting(table: Table, commands: list[Node]) -> str:
    for command in commands:
        if command["subtype"] == "AT_AlterColumnType":
            return f'op.alter_column("{table.name}", "{command["name"]}", type_=…)'
    if any(command["subtype"] == "AT_AddColumn" for command in commands):
        return f'op.add_column("{table.name}", …)'
    return ""


def _rewrites(connection: Connection, table: Table, text: str) -> bool:
    """Whether PostgreSQL rewrites the table: tried on an empty copy, as far as that has all it needs."""
    if table.kind != "r":
        return False
    with suppress(DBAPIError, ParseError), rehearsal(connection, table) as copy:
        before = copy.filenode()
        copy.run(aimed_at(text, "pg_temp", table.name))
        return copy.filenode() != before
    return False
