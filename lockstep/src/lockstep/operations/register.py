"""How each of Alembic's operations runs under Lockstep.

The implementations are registered with ``Operations.implementation_for(…, replace=True)`` once in a process;
in a migration context that Lockstep did not configure they call what was registered before them.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import Operations, ops
from alembic.operations.batch import BatchOperationsImpl

from lockstep.archive import keep as keeping
from lockstep.archive import registry as archive
from lockstep.archive import restore as giving_back
from lockstep.errors import LockstepError
from lockstep.operations import columns, constraints, indexes
from lockstep.operations.backfill import BackfillOp, fill_of, in_one_update, plain_name
from lockstep.operations.rendered_sql import sql_of
from lockstep.operations.undo import undo_of
from lockstep.postgres import catalog
from lockstep.postgres.statements import classify
from lockstep.revision.migrator import Migrator
from lockstep.scopes import is_plain
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Implementation = Callable[[Operations, ops.MigrateOperation], Any]

log = logging.getLogger("alembic.lockstep")

#: Where Lockstep's migrator is found in the options of a migration context.
OPTION = "lockstep"


def migrator_of(operations: Operations) -> Migrator | None:
    """Lockstep's migrator, where the operation is to run by its rules."""
    context = operations.migration_context
    found = context.opts.get(OPTION)
    if not isinstance(found, Migrator) or found.context is not context or is_plain():
        return None
    impl: Any = operations.impl
    if isinstance(impl, BatchOperationsImpl) and impl.recreate == "always":
        return None
    return found


def _register(
    operation_class: type[ops.MigrateOperation],
    describe: Callable[[Any], str],
    run: Callable[[Migrator, Any, Callable[[], Any], Implementation, str], Any],
) -> None:
    try:
        previous: Implementation = Operations._to_impl.dispatch(operation_class)  # noqa: SLF001  # no public way
    except ValueError:
        previous = in_one_update

    @Operations.implementation_for(operation_class, replace=previous is not in_one_update)
    def implementation(operations: Operations, operation: ops.MigrateOperation) -> Any:
        migrator = migrator_of(operations)
        if migrator is None:
            return previous(operations, operation)
        plain = migrator.plain_operations()
        return run(migrator, operation, lambda: previous(plain, operation), previous, describe(operation))


# -- the operations -------------------------------------------------------------------------------------


def _table_of(migrator: Migrator, operation: Any) -> catalog.Table | None:
    """The operation's table where it takes the long way; None where it runs as written."""
    if migrator.offline or migrator.is_created(operation.table_name, operation.schema):
        return None
    table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
    if table is None or table.kind not in {"r", "p", "m"} or migrator.takes_short_way(table):
        return None
    return table


def _online(steps_of: Callable[[Migrator, catalog.Table, Any, Implementation], Sequence[Step] | None]) -> Any:
    """An operation on one table that has an online way."""

    def run(
        migrator: Migrator,
        operation: Any,
        as_written: Callable[[], Any],
        previous: Implementation,
        name: str,
    ) -> Any:
        if isinstance(operation, ops.AddColumnOp):
            migrator.added.add((operation.table_name, operation.column.name))
            _refuse_in_savepoint(migrator, operation, name)

        def steps() -> Sequence[Step] | None:
            table = _table_of(migrator, operation)
            return None if table is None else steps_of(migrator, table, operation, previous)

        return migrator.perform(name, steps, as_written, table=(operation.table_name, operation.schema))

    return run


def _brief(
    migrator: Migrator, operation: Any, as_written: Callable[[], Any], _previous: Implementation, name: str
) -> Any:
    """An operation that is short as it is: one transaction under a short lock_timeout."""
    return migrator.perform(name, lambda: None, as_written, undo=lambda: undo_of(migrator, operation))


def _create_table(
    migrator: Migrator,
    operation: ops.CreateTableOp,
    as_written: Callable[[], Any],
    _previous: Implementation,
    name: str,
) -> Any:
    migrator.created.add((operation.schema, operation.table_name))
    table = migrator.perform(name, lambda: None, as_written, undo=lambda: undo_of(migrator, operation))
    if migrator.direction == "upgrade" and not migrator.offline:
        _give_back(migrator, operation)
    # A revision may use the table that it gets back, also when an earlier process created it.
    return operation.to_table(migrator.context) if table is None else table


def _give_back(migrator: Migrator, operation: ops.CreateTableOp) -> None:
    """Let the new table's sequences go on, and put back the rows that a downgrade kept, at the end."""

    def found() -> catalog.Table | None:
        return catalog.find_table(migrator.connection, operation.table_name, operation.schema)

    def sequences() -> Sequence[Step]:
        table = found()
        sql = giving_back.continue_sequences(migrator, table.schema, table.name) if table else []
        return [Step(f"{table}: its sequences go on", sql=tuple(sql), undo=())] if sql else []

    def rows() -> Sequence[Step]:
        table = found()
        return giving_back.give_back_table(migrator, table) if table else []

    name = _named(operation, operation.table_name)
    if migrator.in_savepoint():
        migrator.at_the_end.append(lambda: migrator.perform(f"{name}: sequences", sequences, _nothing))
    else:
        migrator.perform(f"{name}: sequences", sequences, _nothing)
    migrator.at_the_end.append(lambda: migrator.perform(f"{name}: rows", rows, _nothing))


def _nothing() -> None:
    """As written, there is nothing to give back."""


def _drop_table(
    migrator: Migrator,
    operation: ops.DropTableOp,
    as_written: Callable[[], Any],
    previous: Implementation,
    name: str,
) -> Any:
    _refuse_in_savepoint(migrator, operation, name)

    def steps() -> Sequence[Step] | None:
        table = _kept_table(migrator, operation)
        drop = sql_of(migrator, previous, operation) if table else []
        return keeping.keep_table(migrator, table, drop) if table and drop else None

    return migrator.perform(name, steps, as_written)


def _drop_column(
    migrator: Migrator,
    operation: ops.DropColumnOp,
    as_written: Callable[[], Any],
    previous: Implementation,
    name: str,
) -> Any:
    _refuse_in_savepoint(migrator, operation, name)

    def steps() -> Sequence[Step] | None:
        table = _kept_table(migrator, operation)
        if table is None:
            return None
        return keeping.keep_column(
            migrator, table, operation.column_name, sql_of(migrator, previous, operation)
        )

    return migrator.perform(name, steps, as_written)


def _kept_table(migrator: Migrator, operation: Any) -> catalog.Table | None:
    """The table, where what is dropped of it has rows and is worth keeping."""
    if migrator.offline or not archive.worth_keeping(migrator):
        return None
    table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
    if table is None or table.kind not in {"r", "p"} or catalog.is_empty(migrator.connection, table):
        return None
    return table


def _refuse_in_savepoint(migrator: Migrator, operation: Any, name: str) -> None:
    """Refuse what keeps rows, or gives them back, where nothing can be committed."""
    if not migrator.in_savepoint():
        return
    with migrator.listener.hearing(hears=False):
        if isinstance(operation, ops.AddColumnOp):
            table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
            what = "the values that a downgrade kept cannot be given back"
            concerned = table and archive.find(
                migrator, "column", table.schema, table.name, operation.column.name
            )
        else:
            what = "what it removes cannot be kept first"
            concerned = _kept_table(migrator, operation)
    if concerned:
        raise LockstepError(
            f"{name}: inside a savepoint (begin_nested) of the revision's own, {what}. "
            "Call it outside of the savepoint, or let it go with `with lockstep.plain():`"
        )


def _create_index(
    migrator: Migrator,
    operation: ops.CreateIndexOp,
    as_written: Callable[[], Any],
    previous: Implementation,
    name: str,
) -> Any:
    if operation.kw.get("postgresql_concurrently") and not migrator.offline:
        # The revision says CONCURRENTLY itself: there is no short way that keeps its meaning.
        def steps() -> Sequence[Step] | None:
            table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
            return indexes.create_index(migrator, table, operation)

        return migrator.perform(name, steps, as_written)
    if migrator.offline and not migrator.is_created(operation.table_name, operation.schema):
        return migrator.perform(name, lambda: indexes.create_index(migrator, None, operation), as_written)
    run = _online(lambda m, table, op, _: indexes.create_index(m, table, op))
    return run(migrator, operation, as_written, previous, name)


def _drop_index(
    migrator: Migrator,
    operation: ops.DropIndexOp,
    as_written: Callable[[], Any],
    _previous: Implementation,
    name: str,
) -> Any:
    return migrator.perform(name, lambda: indexes.drop_index(migrator, operation), as_written)


def _constraint_steps(
    migrator: Migrator, table: catalog.Table, operation: Any, _previous: Implementation
) -> Sequence[Step] | None:
    constraint: Any = operation.to_constraint(migrator.context)
    if isinstance(constraint, sa.ForeignKeyConstraint):
        return constraints.foreign_key(migrator, table, constraint)
    if isinstance(constraint, sa.CheckConstraint):
        return constraints.check(migrator, table, constraint)
    if isinstance(constraint, sa.UniqueConstraint):
        return indexes.constraint_on_index(migrator, table, constraint, "u")
    if isinstance(constraint, sa.PrimaryKeyConstraint):
        steps: list[Step] = []
        for column in constraint.columns:
            steps += constraints.not_null(migrator.connection, table, column.name)
        return [*steps, *indexes.constraint_on_index(migrator, table, constraint, "p")]
    migrator.warn(f"{table}: {type(constraint).__name__} can only be added under a lock, as written")
    return None


def _add_constraint(
    migrator: Migrator,
    operation: Any,
    as_written: Callable[[], Any],
    previous: Implementation,
    name: str,
) -> Any:
    if isinstance(operation, ops.CreateForeignKeyOp):
        operation = _WithTable(operation, operation.source_table, operation.kw.get("source_schema"))
    if migrator.offline:
        return migrator.perform(name, lambda: _constraint_offline(migrator, operation), as_written)
    run = _online(lambda m, table, op, p: _constraint_steps(m, table, getattr(op, "operation", op), p))
    return run(migrator, operation, as_written, previous, name)


def _constraint_offline(migrator: Migrator, operation: Any) -> Sequence[Step] | None:
    if migrator.is_created(operation.table_name, operation.schema):
        return None
    return constraints.offline(
        migrator, getattr(operation, "operation", operation).to_constraint(migrator.context)
    )


class _WithTable:
    """A foreign key's operation, under the names that the others have for their table."""

    def __init__(self, operation: ops.MigrateOperation, table_name: str, schema: str | None) -> None:
        self.operation = operation
        self.table_name = table_name
        self.schema = schema


def _drop_constraint(
    migrator: Migrator,
    operation: ops.DropConstraintOp,
    as_written: Callable[[], Any],
    _previous: Implementation,
    name: str,
) -> Any:
    def locks() -> tuple[tuple[str, str], ...]:
        """Both ends of a foreign key: PostgreSQL locks them both, and one after the other may deadlock."""
        table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
        if table is None:
            return ()
        constraint = migrator.plain_operations().schema_obj.generic_constraint(
            operation.constraint_name,
            operation.table_name,
            operation.constraint_type,
            schema=operation.schema,
        )
        found = catalog.rows(
            migrator.connection,
            "SELECT confrelid::regclass::text FROM pg_constraint "
            "WHERE conrelid = %(oid)s AND conname = %(name)s AND contype = 'f' AND confrelid <> conrelid",
            oid=table.oid,
            name=migrator.name_of(constraint),
        )
        return ((table.sql, "ACCESS EXCLUSIVE"), *((row[0], "ACCESS EXCLUSIVE") for row in found))

    return migrator.perform(name, lambda: None, as_written, locks=locks)


def _execute(
    migrator: Migrator,
    operation: ops.ExecuteSQLOp,
    as_written: Callable[[], Any],
    _previous: Implementation,
    name: str,
) -> Any:
    return migrator.perform(
        name, lambda: None, as_written, patient=classify(str(operation.sqltext)).only_rows
    )


def _backfill(
    migrator: Migrator,
    operation: BackfillOp,
    as_written: Callable[[], Any],
    previous: Implementation,
    name: str,
) -> Any:
    del previous

    def steps() -> Sequence[Step]:
        if migrator.offline:
            fill = fill_of(migrator.context, operation, plain_name(operation))
            return [Step(name, kind=Kind.FILL, fill=fill, undo=())]
        table = catalog.find_table(migrator.connection, operation.table_name, operation.schema)
        if table is None:
            raise LockstepError(f"op.backfill: there is no table {operation.table_name}")
        known = catalog.columns(migrator.connection, table.oid)
        if unknown := [column for column in operation.values if column not in known]:
            raise LockstepError(f"op.backfill: {table} has no column {unknown[0]}")
        leaves = catalog.leaves(migrator.connection, table) if table.kind == "p" else [table]
        return [
            Step(
                f"{leaf}: fill {', '.join(operation.values)}",
                kind=Kind.FILL,
                fill=fill_of(migrator.context, operation, leaf.sql),
                # What it overwrites is lost, but for a column that the revision itself added.
                undo=() if migrator.has_added(operation.table_name, *operation.values) else None,
            )
            for leaf in leaves
        ]

    return migrator.perform(name, steps, as_written)


def _named(operation: Any, *parts: Any) -> str:
    kind = type(operation).__name__.removesuffix("Op")
    words = "".join(" " + letter.lower() if letter.isupper() else letter for letter in kind).strip()
    schema = getattr(operation, "schema", None)
    first, *rest = [str(part) for part in parts if part is not None] or [""]
    first = f"{schema}.{first}" if schema else first
    return f"{first}: {words} {' '.join(rest)}" if rest else f"{words} {first}"


def _hashed(operation: ops.ExecuteSQLOp) -> str:
    text = " ".join(str(operation.sqltext).split())
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"execute {text[:60]}{'…' if len(text) > 60 else ''} [{digest}]"


def _constraint_name(operation: Any) -> str:
    if isinstance(operation, ops.CreateForeignKeyOp):
        columns_ = ",".join(operation.local_cols)
        return _named(operation, operation.source_table, operation.constraint_name or columns_)
    parts = getattr(operation, "columns", None)
    return _named(
        operation, operation.table_name, operation.constraint_name or ",".join(str(c) for c in parts or ())
    )


_register(ops.CreateTableOp, lambda o: _named(o, o.table_name), _create_table)
_register(ops.DropTableOp, lambda o: _named(o, o.table_name), _drop_table)
_register(ops.RenameTableOp, lambda o: _named(o, o.table_name, o.new_table_name), _brief)
_register(ops.CreateTableCommentOp, lambda o: _named(o, o.table_name), _brief)
_register(ops.DropTableCommentOp, lambda o: _named(o, o.table_name), _brief)
_register(
    ops.AddColumnOp,
    lambda o: _named(o, o.table_name, o.column.name),
    _online(lambda migrator, table, op, _: columns.add_column(migrator, table, op)),
)
_register(
    ops.AlterColumnOp,
    lambda o: _named(o, o.table_name, o.column_name),
    _online(
        lambda migrator, table, op, previous: columns.alter_column(
            migrator, table, op, lambda part: sql_of(migrator, previous, part)
        )
    ),
)
_register(ops.DropColumnOp, lambda o: _named(o, o.table_name, o.column_name), _drop_column)
_register(ops.CreateIndexOp, lambda o: _named(o, o.table_name, o.index_name), _create_index)
_register(ops.DropIndexOp, lambda o: _named(o, o.index_name), _drop_index)
_register(ops.AddConstraintOp, _constraint_name, _add_constraint)
_register(ops.DropConstraintOp, lambda o: _named(o, o.table_name, o.constraint_name), _drop_constraint)
_register(ops.BulkInsertOp, lambda o: _named(o, o.table.name), _brief)
_register(ops.ExecuteSQLOp, _hashed, _execute)
_register(BackfillOp, lambda o: _named(o, o.table_name, ",".join(o.values)), _backfill)
