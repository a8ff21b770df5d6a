"""``op.drop_index``: dropped CONCURRENTLY."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.operations.index_build import index_is_gone, index_is_valid
from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, qualified
from lockstep.steps.step import AsWritten, Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table

#: An index lies in its table's schema.
_PLAIN_INDEX = f"""
SELECT i.relname AS name, pg_get_indexdef(i.oid) AS definition, obj_description(i.oid, 'pg_class') AS comment,
       {catalog.TABLE}
FROM pg_class i, pg_class c
WHERE i.oid = to_regclass(%(name)s) AND i.relkind = 'i' AND NOT i.relispartition
  AND c.oid = (SELECT indrelid FROM pg_index WHERE indexrelid = i.oid)
  AND NOT EXISTS (SELECT FROM pg_constraint
                  WHERE conrelid = c.oid AND conindid = i.oid AND contype IN ('p', 'u', 'x'))
"""


@dataclass(frozen=True)
class Index:
    """An index that stands for no constraint and is no partition's."""

    table: Table
    name: str
    definition: str
    comment: str | None


def plain_index(connection: Connection, name: str) -> Index | None:
    """The index of a qualified name; None where it is none that DROP INDEX CONCURRENTLY takes."""
    for row in catalog.rows(connection, _PLAIN_INDEX, name=name):
        return Index(catalog.table_of(row), row.name, row.definition, row.comment)
    return None


@plans(ops.DropIndexOp, lambda op: describe(op, op.index_name))
def drop_index(call: Call[ops.DropIndexOp]) -> Plan:
    """DROP INDEX CONCURRENTLY, where the index is an ordinary one. Taken back by building it again."""
    operation, planning = call.operation, call.planning
    name = planning.name_of(operation.to_index(planning.context))
    if planning.offline:
        exists = "IF EXISTS " if operation.if_exists else ""
        sql = f"DROP INDEX CONCURRENTLY {exists}{qualified(name, operation.schema)}"
        return [Step(f"drop index {name} concurrently", sql=(sql,), kind=Kind.OUTSIDE, undo=())]
    connection = planning.connection
    index = plain_index(connection, qualified(name, operation.schema))
    if index is None:
        gone = operation.if_exists and not call.exists(name, operation.schema)
        return AsWritten(undo=() if gone else None)
    if planning.needs_no_plan(index.table) or planning.takes_short_way(index.table):
        return AsWritten(undo=(index.definition, *_comment(index)))
    return [drop_concurrently(index)]


def drop_concurrently(index: Index) -> Step:
    """DROP INDEX CONCURRENTLY; taken back by building it again from its definition."""
    table, schema, name = index.table, index.table.schema, index.name
    again = index.definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    drop = qualified(name, schema)
    return Step(
        f"{table}: drop index {name} concurrently",
        sql=(f"DROP INDEX CONCURRENTLY {drop}",),
        kind=Kind.OUTSIDE,
        present=index_is_gone(schema, name),
        undo=(f"DROP INDEX CONCURRENTLY IF EXISTS {drop}", again, *_comment(index)),
        undo_present=index_is_valid(schema, name),
    )


def _comment(index: Index) -> list[str]:
    name = qualified(index.name, index.table.schema)
    return [f"COMMENT ON INDEX {name} IS {literal(index.comment)}"] if index.comment else []
