"""What autogenerate finds other in the models than in the database, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

if TYPE_CHECKING:
    from collections.abc import Iterator


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
