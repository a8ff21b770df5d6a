"""What autogenerate finds other in the models than in the database, a line each."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import ops

from lockstep.postgres.catalog import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_SERIALS = """
SELECT nullif(n.nspname, current_schema()), t.relname, a.attname
FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype = 'a'
    AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
JOIN pg_attrdef f ON f.adrelid = t.oid AND f.adnum = a.attnum
WHERE s.relkind = 'S'
  AND pg_get_expr(f.adbin, f.adrelid) = 'nextval(' || quote_literal(s.oid::regclass::text) || '::regclass)'
"""


@contextmanager
def serials_known(connection: Connection) -> Iterator[None]:
    """With the answer to what Alembic asks of each serial column, in a query of its own: that its default is
    no default of the model's.
    """
    serials = {tuple(row) for row in rows(connection, _SERIALS)}

    def reflected(_inspector: Any, table: sa.Table, column: Any) -> None:
        if (table.schema, table.name, column["name"]) in serials:
            column["default"] = None

    sa.event.listen(sa.Table, "column_reflect", reflected)
    try:
        yield
    finally:
        sa.event.remove(sa.Table, "column_reflect", reflected)


def told(script: ops.MigrationScript) -> list[str]:
    """The operations that autogenerate would write, in words."""
    return [line for upgrade in script.upgrade_ops_list for line in _lines(upgrade.ops)]


def _lines(operations: Any) -> Iterator[str]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _lines(operation.ops)
        else:
            yield _line(operation)


def _line(operation: Any) -> str:
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", "")
    name = next(
        (
            value
            for key in ("column_name", "index_name", "constraint_name")
            if (value := getattr(operation, key, None))
        ),
        None,
    )
    if name is None and isinstance(operation, ops.AddColumnOp):
        name = operation.column.name
    if isinstance(operation, ops.AlterColumnOp):
        changed = [
            word
            for word, value in (
                ("type", operation.modify_type),
                ("nullable", operation.modify_nullable),
                ("server_default", operation.modify_server_default or None),
                ("comment", operation.modify_comment or None),
            )
            if value is not None
        ]
        return f"{table}.{name} has another {', '.join(changed)}"
    kind = type(operation).__name__.removesuffix("Op")
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in kind).strip()
    return f"{words} {table}{f'.{name}' if name else ''}"
