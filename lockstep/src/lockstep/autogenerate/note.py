"""Comments among the operations of a generated revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import ops

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


class NoteOp(ops.MigrateOperation):
    """A comment that tells the author of a revision what to look at. It is rendered, and never run."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What ``alembic check`` shows of it."""
        return ("note", " ".join(self.lines))


@renderers.dispatch_for(NoteOp)
def _render(_context: AutogenContext, operation: NoteOp) -> list[str]:
    return [f"# {line}" for line in operation.lines]
