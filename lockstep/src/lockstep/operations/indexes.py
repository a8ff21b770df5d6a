"""Indexes, and the constraints that stand on one: built and dropped CONCURRENTLY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.schema import AddConstraint, CreateIndex

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.rehearsal import rehearsal
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.operations import ops
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.postgres.rehearsal import Copy
    from lockstep.revision.migrator import Migrator


def index_is_valid(schema: str, name: str) -> str:
    """A query that is true when an index of that name exists, complete."""
    regclass = f"to_regclass({literal(f'{quote(schema)}.{quote(name)}')})"
    return f"SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = {regclass} AND indisvalid AND indisready)"


def index_is_gone(schema: str, name: str) -> str:
    """A query that is true when nothing of that name is left."""
    return f"SELECT to_regclass({literal(f'{quote(schema)}.{quote(name)}')}) IS NULL"


def build(table: Table, name: str, sql: str) -> Step:
    """CREATE INDEX CONCURRENTLY, as a step that removes what an interrupted one left behind."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {quote(table.schema)}.{quote(name)}"
    return Step(
        f"{table}: build index {name} concurrently",
        sql=(sql,),
        kind=Kind.OUTSIDE,
        present=index_is_valid(table.schema, name),
        leftover=(drop,),
        undo=(drop,),
    )


def refuse_namesake(connection: Connection, table: Table, name: str) -> None:
    """Raise where something complete has the name already; an INVALID leftover of an index does not count."""
    found = catalog.rows(
        connection,
        """
        SELECT i.indisvalid FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
        WHERE c.oid = to_regclass(%(name)s)
        """,
        name=f"{quote(table.schema)}.{quote(name)}",
    )
    if found and found[0][0] is not False:
        raise LockstepError(f'relation "{name}" already exists in schema "{table.schema}"')


def create_index(migrator: Migrator, table: Table | None, operation: ops.CreateIndexOp) -> list[Step] | None:
    """CREATE INDEX CONCURRENTLY; on a partitioned table each partition's in turn, then attached."""
    index: Any = operation.to_index(migrator.context)
    options = index.dialect_options["postgresql"]
    options["concurrently"] = True
    name = migrator.name_of(index)
    if migrator.offline:
        sql = migrator.compile(CreateIndex(index, if_not_exists=bool(operation.if_not_exists)))
        return [Step(f"build index {name} concurrently", sql=(sql,), kind=Kind.OUTSIDE, undo=())]
    if table is None:
        return None
    valid = index_is_valid(table.schema, name)
    if operation.if_not_exists and catalog.scalar(migrator.connection, valid):
        return []
    refuse_namesake(migrator.connection, table, name)
    if table.kind == "p":
        return _on_partitions(migrator, table, name, index)
    return [build(table, name, migrator.compile(CreateIndex(index)))]


def _on_partitions(migrator: Migrator, table: Table, name: str, index: Any) -> list[Step]:
    """The parent's index first, ONLY there and invalid; then each partition's, concurrently, and attached.

    PostgreSQL manual 5.12.2.2: the parent's becomes valid when every partition has its own.
    """
    connection = migrator.connection
    if catalog.scalar(
        connection,
        "SELECT count(*) FROM pg_partition_tree(%(oid)s) WHERE level > 0 AND NOT isleaf",
        oid=table.oid,
    ):
        raise LockstepError(
            f"{table} has partitions that are partitioned themselves: create their indexes one by one and "
            "attach them, or let the table be locked with `with lockstep.plain():`"
        )
    index.dialect_options["postgresql"]["concurrently"] = False
    with rehearsal(connection, table) as copy:
        index.table.schema = "pg_temp"
        copy.run(migrator.compile(CreateIndex(index)))
        definition, columns = catalog.rows(
            connection,
            """
            SELECT pg_get_indexdef(i.indexrelid), ARRAY(SELECT attname::text FROM pg_attribute
                   WHERE attrelid = i.indexrelid AND attnum <= i.indnkeyatts ORDER BY attnum)
            FROM pg_index i WHERE i.indrelid = %(oid)s ORDER BY i.indexrelid DESC LIMIT 1
            """,
            oid=copy.oid,
        )[0]
    unique = "UNIQUE " if definition.startswith("CREATE UNIQUE") else ""
    tail = definition[definition.index(" USING ") :]
    qualified = f"{quote(table.schema)}.{quote(name)}"
    steps = [
        Step(
            f"{table}: create index {name} on the parent alone",
            sql=(f"CREATE {unique}INDEX {quote(name)} ON ONLY {table.sql}{tail}",),
            undo=(f"DROP INDEX {qualified}",),
        )
    ]
    for leaf in catalog.partitions(connection, table):
        child = catalog.default_name(connection, leaf, columns, "idx")
        create = f"CREATE {unique}INDEX CONCURRENTLY {quote(child)} ON {leaf.sql}{tail}"
        attach = f"ALTER INDEX {qualified} ATTACH PARTITION {quote(leaf.schema)}.{quote(child)}"
        steps += [build(leaf, child, create), Step(f"{leaf}: attach index {child}", sql=(attach,), undo=())]
    return steps


def drop_index(migrator: Migrator, operation: ops.DropIndexOp) -> list[Step] | None:
    """DROP INDEX CONCURRENTLY, where the index is an ordinary one; None: as written."""
    name = migrator.name_of(operation.to_index(migrator.context))
    if migrator.offline:
        schema = f"{quote(operation.schema)}." if operation.schema else ""
        exists = "IF EXISTS " if operation.if_exists else ""
        sql = f"DROP INDEX CONCURRENTLY {exists}{schema}{quote(name)}"
        return [Step(f"drop index {name} concurrently", sql=(sql,), kind=Kind.OUTSIDE, undo=())]
    connection = migrator.connection
    qualified = f"{quote(operation.schema)}.{quote(name)}" if operation.schema else quote(name)
    found = catalog.rows(
        connection,
        """
        SELECT n.nspname, c.relname, pg_get_indexdef(c.oid), t.relname, tn.nspname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
        WHERE c.oid = to_regclass(%(name)s) AND c.relkind = 'i' AND NOT c.relispartition
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x'))
        """,
        name=qualified,
    )
    if not found:
        return None
    schema, relname, definition, table_name, table_schema = found[0]
    table = catalog.find_table(connection, table_name, table_schema)
    if table is None or migrator.takes_short_way(table):
        return None
    again = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    text = catalog.scalar(
        connection, "SELECT obj_description(to_regclass(%(name)s), 'pg_class')", name=qualified
    )
    comment = [f"COMMENT ON INDEX {quote(schema)}.{quote(relname)} IS {literal(text)}"] if text else []
    return [
        Step(
            f"{table}: drop index {relname} concurrently",
            sql=(f"DROP INDEX CONCURRENTLY {quote(schema)}.{quote(relname)}",),
            kind=Kind.OUTSIDE,
            present=index_is_gone(schema, relname),
            undo=(f"DROP INDEX CONCURRENTLY IF EXISTS {quote(schema)}.{quote(relname)}", again, *comment),
            undo_present=index_is_valid(schema, relname),
        )
    ]


def constraint_on_index(
    migrator: Migrator,
    table: Table,
    constraint: Any,
    kind: str,
    prepare: Callable[[Copy], None] = lambda _: None,
) -> list[Step]:
    """UNIQUE (``kind`` u) or PRIMARY KEY (p): a unique index CONCURRENTLY, then the constraint USING INDEX.

    ``prepare`` brings the rehearsal's copy of the table to where the constraint can be added. The steps that
    make a primary key's columns NOT NULL are the caller's.
    """
    connection = migrator.connection
    if table.kind == "p" or table.inherits:
        raise LockstepError(
            f"{table} is partitioned or inherited: PostgreSQL cannot add a constraint from an index there. "
            "Let the table be locked with `with lockstep.plain():`"
        )
    with rehearsal(connection, table) as copy:
        prepare(copy)
        schema, constraint.table.schema = constraint.table.schema, "pg_temp"
        for (existing,) in catalog.rows(
            connection,
            "SELECT conname FROM pg_constraint WHERE conrelid = %(oid)s AND contype = 'p' AND %(kind)s = 'p'",
            oid=copy.oid,
            kind=kind,
        ):
            raise LockstepError(f"{table} has a primary key already ({existing})")
        copy.run(migrator.compile(AddConstraint(constraint, isolate_from_table=True)))
        constraint.table.schema = schema
        name, definition, deferrable, deferred, columns = catalog.rows(
            connection,
            """
            SELECT c.conname, pg_get_indexdef(c.conindid), c.condeferrable, c.condeferred,
                   ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, p)
                         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.p)
            FROM pg_constraint c WHERE c.conrelid = %(oid)s AND c.contype = %(kind)s
            ORDER BY c.oid DESC LIMIT 1
            """,
            oid=copy.oid,
            kind=kind,
        )[0]
    if constraint.name is None:
        parts = [] if kind == "p" else columns
        name = catalog.default_name(connection, table, parts, "pkey" if kind == "p" else "key")
    refuse_namesake(connection, table, name)
    tail = definition[definition.index(" USING ") :]
    create = f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {table.sql}{tail}"
    words = "PRIMARY KEY" if kind == "p" else "UNIQUE"
    timing = (" DEFERRABLE" if deferrable else "") + (" INITIALLY DEFERRED" if deferred else "")
    add = f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(name)} {words} USING INDEX {quote(name)}{timing}"
    return [
        build(table, name, create),
        Step(
            f"{table}: add constraint {name} on its index",
            sql=(add,),
            undo=(f"ALTER TABLE {table.sql} DROP CONSTRAINT {quote(name)}",),
        ),
    ]
