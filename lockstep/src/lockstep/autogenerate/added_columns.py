"""Columns that are added to tables with rows: what the rows that are there get."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.operations import ops
from sqlalchemy.exc import CompileError

from lockstep import private_names
from lockstep.autogenerate.note import NoteOp
from lockstep.operations.backfill import BackfillOp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.autogenerate.api import AutogenContext

log = logging.getLogger("alembic.lockstep")

#: SQL that does what functions do that are given as ``default=``, by their names.
_IN_SQL = {
    "uuid4": "gen_random_uuid()",
    "utcnow": "now()",
    "now": "now()",
    "today": "current_date",
    "dict": "'{}'",
    "list": "'{}'",
}


def added(operation: ops.AddColumnOp, dialect: Any) -> Iterator[ops.MigrateOperation]:
    """The operations that add a column: with the model's constant ``default=`` as ``server_default``; or, for
    one that is NOT NULL and has no default, NULL first, then filled, then NOT NULL.
    """
    column = operation.column
    if column.server_default is not None or column.computed is not None or column.identity is not None:
        yield operation
        return
    default = _constant(column, dialect)
    if default is None and column.nullable:
        yield operation
        return
    named = f"{operation.table_name}.{column.name}"
    copy = private_names.copy_of(column)
    if default is not None:
        log.info(
            "default=%r of %s is written as server_default; write it in the model, too", _given(column), named
        )
        copy.server_default = sa.DefaultClause(default)
        yield ops.AddColumnOp(operation.table_name, copy, schema=operation.schema)
        return
    copy.nullable = True
    yield ops.AddColumnOp(operation.table_name, copy, schema=operation.schema)
    yield NoteOp(
        f"Replace the dots by the value of {named} in the rows that are there: a constant, or",
        f"SQL over a row's columns: {_suggestion(column)}. The revision does not run before.",
    )
    yield BackfillOp(operation.table_name, {column.name: ...}, schema=operation.schema)
    yield ops.AlterColumnOp(
        operation.table_name,
        column.name,
        schema=operation.schema,
        existing_type=column.type,
        modify_nullable=False,
    )


def _given(column: sa.Column[Any]) -> Any:
    """The model's ``default=``: a constant or a function; None where there is none, or it is SQL."""
    default: Any = column.default
    return default.arg if default is not None and (default.is_scalar or default.is_callable) else None


def _constant(column: sa.Column[Any], dialect: Any) -> str | sa.TextClause | None:
    """The model's constant ``default=`` as a server default; None where it has none."""
    value = _given(column)
    if value is None or callable(value):
        return None
    if isinstance(column.type, sa.JSON):  # SQLAlchemy writes none as a literal
        return json.dumps(value)
    try:
        literal = str(
            sa.literal(value, column.type).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        )
    except (CompileError, NotImplementedError, TypeError, ValueError):
        return None
    if literal.startswith("'") and literal.endswith("'"):
        return literal[1:-1].replace("''", "'").replace("%%", "%")
    return sa.text(literal.replace("%%", "%").replace(":", "\\:"))


def _suggestion(column: sa.Column[Any]) -> str:
    function = getattr(_given(column), "__name__", "")
    if function and function.strip("<>") != "lambda":
        sql = _IN_SQL.get(function)
        return f'sa.text("{sql}"), say, for the model\'s {function}' if sql else f"for the model's {function}"
    return 'sa.text("lower(name)"), say'


@renderers.dispatch_for(BackfillOp)
def _render(_context: AutogenContext, operation: BackfillOp) -> str:
    values = ", ".join(
        f"{name!r}: {'...' if value is ... else repr(value)}" for name, value in operation.values.items()
    )
    schema = f", schema={operation.schema!r}" if operation.schema else ""
    return f"op.backfill({operation.table_name!r}, {{{values}}}{schema})"
