"""``op.create_index``: built CONCURRENTLY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.schema import CreateIndex

from lockstep.errors import LockstepError
from lockstep.operations.index_build import analyze, build, index_is_valid, refuse_namesake
from lockstep.operations.register import Call, describe, plans
from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified, quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.steps.step import AsWritten, Kind, Step

if TYPE_CHECKING:
    from lockstep.operations.register import Plan
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning


@plans(ops.CreateIndexOp, lambda op: describe(op, op.table_name, op.index_name))
def create_index(call: Call[ops.CreateIndexOp]) -> Plan:
    """CREATE INDEX CONCURRENTLY; on a partitioned table each partition's in turn, then attached. After an
    index on an expression comes ANALYZE.

    Taken back by dropping the index. Refused where something else has its name.
    """
    operation, planning = call.operation, call.planning
    index: Any = operation.to_index(planning.context)
    name = planning.name_of(index)
    if planning.offline:
        return _offline(call, index, name)
    if operation.kw.get("postgresql_concurrently"):
        # The revision says CONCURRENTLY itself: there is no short way that keeps its meaning.
        table = catalog.find_table(planning.connection, operation.table_name, operation.schema)
    else:
        # An INVALID leftover would do for IF NOT EXISTS.
        needs_plan = bool(operation.if_not_exists)
        table = call.table_in_use(operation.table_name, operation.schema, needs_plan=needs_plan)
    if operation.if_not_exists and call.exists(name, operation.schema) and table is None:
        return AsWritten(undo=())
    if table is None:
        return AsWritten(undo=(f"DROP INDEX IF EXISTS {qualified(name, operation.schema)}",))
    if operation.if_not_exists and catalog.scalar(planning.connection, index_is_valid(table.schema, name)):
        return []
    refuse_namesake(planning.connection, table, name)
    if table.kind == "p":
        return _on_partitions(planning, table, name, index)
    index.dialect_options["postgresql"]["concurrently"] = True
    has_expression = not all(isinstance(part, sa.Column) for part in index.expressions)
    steps = [build(table, name, planning.compile(CreateIndex(index)))]
    return [*steps, analyze(table)] if has_expression else steps


def _offline(call: Call[ops.CreateIndexOp], index: Any, name: str) -> Plan:
    operation, planning = call.operation, call.planning
    if planning.is_created(operation.table_name, operation.schema):
        return AsWritten(undo=())
    index.dialect_options["postgresql"]["concurrently"] = True
    sql = planning.compile(CreateIndex(index, if_not_exists=bool(operation.if_not_exists)))
    return [Step(f"build index {name} concurrently", sql=(sql,), kind=Kind.OUTSIDE, undo=())]


_HAS_NESTED_PARTITIONS = """
SELECT EXISTS (SELECT FROM pg_partition_tree(%(oid)s) WHERE level > 0 AND NOT isleaf)
"""

_NEWEST_INDEX = """
SELECT pg_get_indexdef(i.indexrelid) AS definition,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = i.indexrelid AND attnum <= i.indnkeyatts ORDER BY attnum) AS columns
FROM pg_index i WHERE i.indrelid = %(oid)s ORDER BY i.indexrelid DESC LIMIT 1
"""


def _on_partitions(planning: Planning, table: Table, name: str, index: Any) -> list[Step]:
    """The parent's index first, ONLY there and invalid; then each partition's, concurrently, and attached.

    PostgreSQL manual 5.12.2.2: the parent's becomes valid when every partition has its own.
    """
    connection = planning.connection
    if catalog.scalar(connection, _HAS_NESTED_PARTITIONS, oid=table.oid):
        raise LockstepError(
            f"{table} has partitions that are partitioned themselves: create their indexes one by one and "
            "attach them, or let the table be locked with `with lockstep.plain():`"
        )
    index.dialect_options["postgresql"]["concurrently"] = False
    with rehearsal(connection, table) as copy:
        index.table.schema = "pg_temp"
        copy.run(planning.compile(CreateIndex(index)))
        (made,) = catalog.rows(connection, _NEWEST_INDEX, oid=copy.oid)
    unique = "UNIQUE " if made.definition.startswith("CREATE UNIQUE") else ""
    tail = made.definition[made.definition.index(" USING ") :]
    parent = qualified(name, table.schema)
    steps = [
        Step(
            f"{table}: create index {name} on the parent alone",
            sql=(f"CREATE {unique}INDEX {quote(name)} ON ONLY {table.sql}{tail}",),
            undo=(f"DROP INDEX {parent}",),
        )
    ]
    for leaf in catalog.partitions(connection, table):
        child = catalog.default_name(connection, leaf, made.columns, "idx")
        create = f"CREATE {unique}INDEX CONCURRENTLY {quote(child)} ON {leaf.sql}{tail}"
        attach = f"ALTER INDEX {parent} ATTACH PARTITION {qualified(child, leaf.schema)}"
        steps += [
            build(leaf, child, create),
            Step(f"{leaf}: attach index {child}", sql=(attach,), undo=()),
        ]
    return steps
