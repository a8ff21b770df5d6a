"""CREATE INDEX CONCURRENTLY as a step, for whatever stands on an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.catalog import literal, qualified, quote
from lockstep.steps.step import Kind, Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table


def index_is_valid(schema: str, name: str) -> str:
    """A query that is true when an index of that name exists, complete."""
    regclass = f"to_regclass({literal(qualified(name, schema))})"
    return f"SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = {regclass} AND indisvalid AND indisready)"


def index_is_gone(schema: str, name: str) -> str:
    """A query that is true when nothing of that name is left."""
    return f"SELECT to_regclass({literal(qualified(name, schema))}) IS NULL"


def build(
    table: Table, name: str, sql: str, *, offenders: str | None = None, refusal: str | None = None
) -> Step:
    """CREATE INDEX CONCURRENTLY, as a step that removes what an interrupted one left behind."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(name, table.schema)}"
    return Step(
        f"{table}: build index {name} concurrently",
        sql=(sql,),
        kind=Kind.OUTSIDE,
        present=index_is_valid(table.schema, name),
        leftover=(drop,),
        undo=(drop,),
        undo_present=index_is_gone(table.schema, name),
        offenders=offenders,
        refusal=refusal,
    )


def analyze(table: Table, *columns: str) -> Step:
    """ANALYZE: the planner knows nothing of a new expression, or of a column that was filled, until then.

    Statistics of an index's expressions are gathered only where no columns are named.
    """
    only = f" ({', '.join(quote(column) for column in columns)})" if columns else ""
    return Step(
        f"{table}: statistics{' of ' + ', '.join(columns) if columns else ''}",
        sql=(f"ANALYZE {table.sql}{only}",),
        kind=Kind.LONG,
        undo=(),
    )


def refuse_namesake(connection: Connection, table: Table, name: str) -> None:
    """Raise where something complete has the name already; an INVALID leftover of an index does not count."""
    is_complete = catalog.scalar(
        connection,
        """
        SELECT i.indisvalid IS DISTINCT FROM false
        FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE c.oid = to_regclass(%(name)s)
        """,
        name=qualified(name, table.schema),
    )
    if is_complete:
        raise LockstepError(f'relation "{name}" already exists in schema "{table.schema}"')
