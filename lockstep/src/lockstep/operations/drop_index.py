"""``op.drop_index``: dropped CONCURRENTLY."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import ops

from lockstep.operations.index_build import index_is_gone, index_is_valid
from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, qualified
from lockstep.steps.step import AsWritten, Kind, Step

if TYPE_CHECKING:
    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table

PLAIN_INDEX = """
SELECT n.nspname AS schema, c.relname AS name, pg_get_indexdef(c.oid) AS definition,
       obj_description(c.oid, 'pg_class') AS comment, t.relname AS table_name, tn.nspname AS table_schema
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE c.oid = to_regclass(%(name)s) AND c.relkind = 'i' AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'))
"""


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
    found = catalog.rows(connection, PLAIN_INDEX, name=qualified(name, operation.schema))
    if not found:
        gone = operation.if_exists and not call.exists(name, operation.schema)
        return AsWritten(undo=() if gone else None)
    index = found[0]
    table = planning.find_table(index.table_name, index.table_schema)
    if table is None or planning.needs_no_plan(table) or planning.takes_short_way(table):
        return AsWritten(undo=(index.definition, *_comment(index.schema, index.name, index.comment)))
    return [drop_concurrently(table, index.schema, index.name, index.definition, index.comment)]


def drop_concurrently(table: Table, schema: str, name: str, definition: str, comment: str | None) -> Step:
    """DROP INDEX CONCURRENTLY; taken back by building it again from its definition."""
    again = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    drop = qualified(name, schema)
    return Step(
        f"{table}: drop index {name} concurrently",
        sql=(f"DROP INDEX CONCURRENTLY {drop}",),
        kind=Kind.OUTSIDE,
        present=index_is_gone(schema, name),
        undo=(f"DROP INDEX CONCURRENTLY IF EXISTS {drop}", again, *_comment(schema, name, comment)),
        undo_present=index_is_valid(schema, name),
    )


def _comment(schema: str, name: str, comment: str | None) -> list[str]:
    return [f"COMMENT ON INDEX {qualified(name, schema)} IS {literal(comment)}"] if comment else []
