"""The docstring of a generated revision: what it does, and whether the program before it goes on working."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from lockstep.autogenerate.note import NoteOp
from lockstep.operations.backfill import BackfillOp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Described(str):
    """A revision's message. A template writes it with its description; the file's name has the message only
    (``str.__str__`` is what Mako calls; Alembic makes the name of the text itself).
    """

    __slots__ = ("description",)

    description: str

    def __str__(self) -> str:
        return f"{str.__str__(self)}\n\n{self.description}"


def described(message: str | None, operations: Iterable[Any]) -> Described:
    """The message with a line for each operation and one about the program that runs now."""
    does: list[str] = []
    breaks: list[str] = []
    for what, breakage in _effects(operations):
        does.append(what)
        breaks += [breakage] if breakage else []
    lines = ["What it does:", *(f"- {one}" for one in does), ""]
    if breaks:
        lines.append("The program before this revision does not work on the schema after it, where:")
        lines += [f"- {one}" for one in dict.fromkeys(breaks)]
    else:
        lines.append("The program before this revision works on the schema after it.")
    found = Described(message or "")
    found.description = "\n".join(lines)
    return found


def _effects(operations: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """What each operation does, and when a program that knows nothing of it fails; "" for never."""
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _effects(operation.ops)
        elif not isinstance(operation, NoteOp):
            yield _effect(operation)


def _effect(operation: Any) -> tuple[str, str]:
    table = getattr(operation, "table_name", "") or getattr(operation, "source_table", "")
    match operation:
        case ops.CreateTableOp():
            return f"creates table {table}", ""
        case ops.DropTableOp():
            return f"drops table {table}", f"it uses table {table}"
        case ops.RenameTableOp():
            return f"renames table {table} to {operation.new_table_name}", f"it uses table {table}"
        case ops.AddColumnOp():
            return f"adds {table}.{operation.column.name}", ""
        case BackfillOp():
            return f"fills {', '.join(f'{table}.{name}' for name in operation.values)}", ""
        case ops.DropColumnOp():
            return f"drops {table}.{operation.column_name}", f"it uses {table}.{operation.column_name}"
        case ops.AlterColumnOp():
            return _altered(operation, f"{table}.{operation.column_name}")
        case ops.CreateIndexOp():
            unique = f"it writes to {table} what index {operation.index_name} has already"
            return f"creates index {operation.index_name} on {table}", unique if operation.unique else ""
        case ops.DropIndexOp():
            return f"drops index {operation.index_name}", ""
        case ops.DropConstraintOp():
            return f"drops constraint {operation.constraint_name} of {table}", ""
        case ops.AddConstraintOp():
            name = getattr(operation, "constraint_name", None) or "a constraint"
            return f"adds {name} to {table}", f"it writes to {table} what {name} refuses"
    return _of_another_package(operation, table)


def _of_another_package(operation: Any, table: str) -> tuple[str, str]:
    """An operation that Alembic does not have: of alembic_utils, say, whose entities tell what they are."""
    name = str(getattr(getattr(operation, "target", None), "identity", "") or table)
    does = type(operation).__name__.removesuffix("Op").lower()
    return f"{does} {name}".strip(), f"it uses {name}" if does == "drop" and name else ""


def _altered(operation: ops.AlterColumnOp, column: str) -> tuple[str, str]:
    if operation.modify_name is not None:
        return f"renames {column} to {operation.modify_name}", f"it uses {column}"
    if operation.modify_type is not None:
        return (
            f"changes the type of {column} to {operation.modify_type}",
            f"it writes to {column} what {operation.modify_type} refuses",
        )
    if operation.modify_nullable is False:
        return f"lets {column} be NULL no more", f"it writes no value to {column}, which has no default"
    if operation.modify_nullable:
        return f"lets {column} be NULL", f"it reads NULL from {column}"
    return f"changes {column}", ""
