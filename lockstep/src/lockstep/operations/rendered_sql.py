"""What plain Alembic would send, without sending it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from alembic.operations import ops

    Implementation = Callable[[Operations, ops.MigrateOperation], Any]


class _Output:
    """Stands in for the output of a --sql run: keeps each statement."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        if statement := text.strip().removesuffix(";").strip():
            self.statements.append(statement)

    def flush(self) -> None:
        pass


def sql_of(
    configured: MigrationContext, implementation: Implementation, operation: ops.MigrateOperation
) -> list[str]:
    """The statements that plain Alembic sends for an operation."""
    output = _Output()
    # Its log lines would announce a migration that nobody runs.
    logger = logging.getLogger("alembic.runtime.migration")
    disabled, logger.disabled = logger.disabled, True
    try:
        context = MigrationContext.configure(
            dialect=configured.dialect,
            opts={
                "target_metadata": configured.opts.get("target_metadata"),
                "as_sql": True,
                "output_buffer": output,
                "literal_binds": True,
            },
        )
    finally:
        logger.disabled = disabled
    implementation(Operations(context), operation)
    return [statement.replace("%%", "%") for statement in output.statements]
