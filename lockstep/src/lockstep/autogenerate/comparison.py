"""What Alembic does not compare: CHECK constraints, and the predicates of partial indexes.

PostgreSQL writes an expression in its own way, so the model's is written by PostgreSQL too: on an empty
temporary copy of the table, in a savepoint that is rolled back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.autogenerate import comparators, renderers
from alembic.operations import ops
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import conv

from lockstep.errors import LockstepError
from lockstep.operations.register import OPTION
from lockstep.postgres import catalog
from lockstep.postgres.rehearsal import rehearsal
from lockstep.postgres.session import sqlstate
from lockstep.private_names import is_wanted

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy.engine import Connection

    from lockstep.postgres.rehearsal import Copy

log = logging.getLogger("alembic.lockstep")


@comparators.dispatch_for("schema")
def refuse_no_models(context: AutogenContext, _operations: ops.UpgradeOps, _schemas: Any) -> None:
    """Raise LockstepError where there are no models to compare the database with."""
    if not _is_ours(context):
        return
    if not context.sorted_tables:
        raise LockstepError(
            "target_metadata has no tables: a model is there once its module is imported. Import those "
            "modules in env.py, above lockstep.run(): `import app.models`, say; `lockstep doctor` names them"
        )


def _is_ours(context: AutogenContext) -> bool:
    return OPTION in context.migration_context.opts


@comparators.dispatch_for("table")
def compare(
    context: AutogenContext,
    modified: ops.ModifyTableOps,
    schema: str | None,
    name: str,
    there: sa.Table | None,
    model: sa.Table | None,
) -> None:
    """Append the operations that make CHECK constraints and partial indexes what the model says."""
    connection = context.connection
    if not _is_ours(context) or there is None or model is None or connection is None:
        return
    table = catalog.find_table(connection, name, schema)
    if table is None:
        return
    real = _Real(connection, table.oid)
    try:
        with rehearsal(connection, table) as copy:
            _compare_checks(context, modified, (there, model), real, copy)
            _compare_predicates(context, modified, (there, model), real, copy)
    except DBAPIError as error:
        if sqlstate(error) != "42501":
            raise
        log.warning(
            "CHECK constraints and predicates of indexes were not compared: the role needs TEMPORARY on the "
            "database"
        )


class _Real:
    """Expressions of a table as PostgreSQL writes them."""

    def __init__(self, connection: Connection, oid: int) -> None:
        self.checks: dict[str, str] = {
            row[0]: row[1]
            for row in catalog.rows(
                connection,
                "SELECT conname, pg_get_expr(conbin, conrelid) FROM pg_constraint "
                "WHERE conrelid = %(oid)s AND contype = 'c' AND (conislocal OR coninhcount = 0)",
                oid=oid,
            )
        }
        self.predicates: dict[str, str | None] = {
            row[0]: row[1]
            for row in catalog.rows(
                connection,
                "SELECT c.relname, pg_get_expr(i.indpred, i.indrelid) FROM pg_index i "
                "JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %(oid)s",
                oid=oid,
            )
        }


def _written(copy: Copy, expression: Any) -> tuple[str | None, str | None]:
    """A model's condition as PostgreSQL writes it, and the name that it gives such a constraint; None where
    it is of columns that are not there yet.
    """
    sql = expression.compile(dialect=copy.connection.dialect, compile_kwargs={"literal_binds": True})
    before = _Real(copy.connection, copy.oid).checks
    copy.run("SAVEPOINT written")
    try:
        copy.run(f"ALTER TABLE {copy.sql} ADD CHECK ({sql})".replace("%%", "%"))
    except DBAPIError:
        copy.run("ROLLBACK TO SAVEPOINT written")
        return None, None
    after = _Real(copy.connection, copy.oid).checks
    name = (after.keys() - before.keys()).pop()
    return after[name], name


def _compare_checks(
    context: AutogenContext,
    modified: ops.ModifyTableOps,
    tables: tuple[sa.Table, sa.Table],
    real: _Real,
    copy: Copy,
) -> None:
    """By name; the model's without a name by what PostgreSQL writes of them."""
    there, model = tables
    impl = context.migration_context.impl
    wanted = [
        one for one in model.constraints if isinstance(one, sa.CheckConstraint) and is_wanted(one, impl)
    ]
    left = dict(real.checks)
    missing: list[ops.CreateCheckConstraintOp] = []
    for check in sorted(wanted, key=lambda one: str(one.sqltext)):
        preparer = impl.dialect.identifier_preparer
        name = check.name and preparer.format_constraint(check, _alembic_quote=False)
        sql, default_name = _written(copy, check.sqltext)
        same = [known for known, text in left.items() if text == sql and name in (None, known)]
        if same:
            del left[same[0]]
            copy.run("ROLLBACK TO SAVEPOINT written")  # its name is free for the next
        elif context.run_object_filters(check, name, "check_constraint", reflected=False, compare_to=None):
            missing.append(
                ops.CreateCheckConstraintOp(
                    conv(named) if (named := name or default_name) else None,
                    model.name,
                    check.sqltext,
                    schema=model.schema,
                )
            )
    for name, text in left.items():
        check = sa.CheckConstraint(sa.text(text.replace(":", "\\:")), name=conv(name))
        there.append_constraint(check)
        if context.run_object_filters(check, name, "check_constraint", reflected=True, compare_to=None):
            modified.ops.append(ops.DropConstraintOp.from_constraint(check))
    modified.ops += missing


def _compare_predicates(
    context: AutogenContext,
    modified: ops.ModifyTableOps,
    tables: tuple[sa.Table, sa.Table],
    real: _Real,
    copy: Copy,
) -> None:
    """Of the indexes that Alembic found alike."""
    there, model = tables
    compared = {one.index_name for one in modified.ops if isinstance(one, ops.CreateIndexOp)}
    was = {str(index.name): index for index in there.indexes}
    for index in sorted(model.indexes, key=lambda one: str(one.name)):
        name = str(index.name)
        if name not in real.predicates or name in compared or name not in was:
            continue
        where = index.dialect_options["postgresql"]["where"]
        sql = None if where is None else _written(copy, where)[0]
        if sql == real.predicates[name]:
            continue
        if context.run_object_filters(index, name, "index", reflected=False, compare_to=was[name]):
            modified.ops.append(ops.DropIndexOp.from_index(was[name]))
            modified.ops.append(ops.CreateIndexOp.from_index(index))


@renderers.dispatch_for(ops.CreateCheckConstraintOp, replace=True)
def _render_check(context: AutogenContext, operation: ops.CreateCheckConstraintOp) -> str:
    """As Alembic does from 1.18 on; before, it cannot."""
    name, condition = operation.constraint_name, operation.condition
    if not isinstance(condition, str):
        options = {"literal_binds": True}
        condition = str(condition.compile(dialect=context.dialect, compile_kwargs=options)).replace("%%", "%")
    shown = f"op.f({str(name)!r})" if isinstance(name, conv) else repr(name)
    schema = f", schema={operation.schema!r}" if operation.schema else ""
    return f"op.create_check_constraint({shown}, {operation.table_name!r}, {condition!r}{schema})"
