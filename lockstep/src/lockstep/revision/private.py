"""Private names of Alembic that running a revision needs, each in one place; test_private_names.py tells when
an upgrade takes one of them away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory


def adopt_transaction(context: MigrationContext) -> None:
    """Let Alembic know of the transaction that the connection is in, where the revision has ended its own."""
    connection = context.connection
    if connection is None:
        return
    current = connection.get_transaction() or connection.begin()
    if context._transaction is not current:  # noqa: SLF001
        context._transaction = current  # noqa: SLF001


def ensure_version_table(context: MigrationContext) -> None:
    """Create Alembic's version table where it is missing."""
    context._ensure_version_table()  # noqa: SLF001


def forget_made_types(context: MigrationContext) -> None:
    """Alembic's implementation remembers which types it has created; a rollback took them away."""
    memo: Any = getattr(context.impl, "memo", None)
    if memo is not None:
        memo.clear()


def downgrade_steps(script: ScriptDirectory, target: str, heads: Any) -> Any:
    """The steps of ``alembic downgrade``."""
    return script._downgrade_revs(target, heads)  # noqa: SLF001
