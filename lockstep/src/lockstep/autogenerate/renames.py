"""A column or table that is gone beside a new one that is like it: renamed, perhaps."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError

from lockstep.autogenerate.note import NoteOp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import sqlalchemy as sa

_POSTGRESQL: Any = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy says no types here


def renamed_columns(modified: ops.ModifyTableOps, confirm: Callable[[str], bool] | None) -> bool:
    """Offer each likely rename in a table: ``confirm`` it, where there is somebody to ask; elsewhere put what
    to write above the operations, which keep their meaning. True where something is renamed.
    """
    dropped = [one for one in modified.ops if isinstance(one, ops.DropColumnOp)]
    added = [one for one in modified.ops if isinstance(one, ops.AddColumnOp)]
    found = False
    for old, new in _pairs(dropped, added):
        table, before, after = modified.table_name, old.column_name, new.column.name
        is_one = confirm is not None and confirm(
            f"{table}.{before} is gone, and {table}.{after} is new and of the same type. Is it renamed?"
        )
        if not is_one:
            schema = f", schema={modified.schema!r}" if modified.schema else ""
            note = NoteOp(
                f"If {table}.{after} is {table}.{before} by another name, write in place of what adds",
                "the one and drops the other, here, and the other way in downgrade():",
                f"op.alter_column({table!r}, {before!r}, new_column_name={after!r}{schema})",
            )
            modified.ops.insert(min(modified.ops.index(old), modified.ops.index(new)), note)
            continue
        found = True
        modified.ops[modified.ops.index(old)] = _Rename(table, before, after, modified.schema, old, new)
        modified.ops.remove(new)
    return found


class _Rename(ops.AlterColumnOp):
    """A column renamed, and NULL or NOT NULL where the new one is otherwise."""

    def __init__(self, table: str, before: str, after: str, schema: str | None, old: Any, new: Any) -> None:
        was, now = old.to_column(), new.column
        super().__init__(
            table,
            before,
            schema=schema,
            existing_type=now.type,
            existing_nullable=was.nullable,
            modify_nullable=None if now.nullable == was.nullable else now.nullable,
            modify_name=after,
        )
        self._after = after
        self._nullable = was.nullable, now.nullable

    def reverse(self) -> ops.AlterColumnOp:
        was, now = self._nullable
        return ops.AlterColumnOp(
            self.table_name,
            self._after,
            schema=self.schema,
            existing_type=self.existing_type,
            existing_nullable=now,
            modify_nullable=None if was == now else was,
            modify_name=self.column_name,
        )


def renamed_tables(operations: list[Any]) -> None:
    """Put above a table that is new what to write where it is one that is gone, with the same columns."""
    gone = [one for one in operations if isinstance(one, ops.DropTableOp)]
    for new in [one for one in operations if isinstance(one, ops.CreateTableOp)]:
        for old in gone:
            if old.schema == new.schema and _shape(old.to_table().columns) == _shape(new.to_table().columns):
                schema = f", schema={new.schema!r}" if new.schema else ""
                note = NoteOp(
                    f"If {new.table_name} is {old.table_name} by another name, write in place",
                    "of what makes the one and drops the other, here, and the other way in downgrade():",
                    f"op.rename_table({old.table_name!r}, {new.table_name!r}{schema})",
                )
                operations.insert(operations.index(new), note)
                gone.remove(old)
                break


def _pairs(
    dropped: Sequence[ops.DropColumnOp], added: Sequence[ops.AddColumnOp]
) -> list[tuple[ops.DropColumnOp, ops.AddColumnOp]]:
    """Each dropped column with the new one of its type whose name is most like its own."""
    alike = sorted(
        ((old, new) for old in dropped for new in added if _type(old.to_column()) == _type(new.column)),
        key=lambda pair: -SequenceMatcher(None, pair[0].column_name, pair[1].column.name).ratio(),
    )
    found: list[tuple[ops.DropColumnOp, ops.AddColumnOp]] = []
    for old, new in alike:
        if not any(old is o or new is n for o, n in found):
            found.append((old, new))
    return found


def _type(column: sa.Column[Any]) -> str:
    try:
        return str(column.type.compile(dialect=_POSTGRESQL))
    except CompileError:
        return repr(column.type)


def _shape(columns: Any) -> set[tuple[str, str]]:
    return {(column.name, _type(column)) for column in columns}
