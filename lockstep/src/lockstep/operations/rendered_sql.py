"""What plain Alembic would send, without sending it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.operations import ops

    from lockstep.revision.migrator import Migrator

    Implementation = Callable[[Operations, ops.MigrateOperation], Any]


class _Recorder:
    """Stands in for the output of a --sql run: keeps each statement."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        if statement := text.strip().removesuffix(";").strip():
            self.statements.append(statement)

    def flush(self) -> None:
        pass


def sql_of(migrator: Migrator, implementation: Implementation, operation: ops.MigrateOperation) -> list[str]:
    """The statements that plain Alembic sends for an operation."""
    recorder = _Recorder()
    # Its log lines would announce a migration that nobody runs.
    quiet = logging.getLogger("alembic.runtime.migration")
    disabled, quiet.disabled = quiet.disabled, True
    try:
        context = MigrationContext.configure(
            dialect=migrator.context.dialect,
            opts={
                "target_metadata": migrator.context.opts.get("target_metadata"),
                "as_sql": True,
                "output_buffer": recorder,
                "literal_binds": True,
            },
        )
    finally:
        quiet.disabled = disabled
    implementation(Operations(context), operation)
    return [statement.replace("%%", "%") for statement in recorder.statements]
