"""Private names of Alembic and SQLAlchemy that Lockstep needs: all of them, and here alone.

test_private_names.py tells in a line each when an upgrade takes one away, and when another file uses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import alembic.context
from alembic.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa
    from alembic.operations import ops
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.sql.schema import ColumnCollectionConstraint


def implementation_of(operation_class: type[ops.MigrateOperation]) -> Callable[..., Any]:
    """The function that runs an operation now; ValueError where there is none."""
    found: Callable[..., Any] = Operations._to_impl.dispatch(operation_class)  # noqa: SLF001
    return found


def copy_of(column: sa.Column[Any]) -> sa.Column[Any]:
    """A column without its table, as Alembic makes it of one that may belong to a table already."""
    return column._copy()  # noqa: SLF001


def is_wanted(constraint: ColumnCollectionConstraint | Any, impl: Any) -> bool:
    """Whether a constraint is to be created: that of a type (Boolean, Enum) is not always wanted."""
    rule = constraint._create_rule  # noqa: SLF001
    return rule is None or bool(rule(impl))


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


def upgrade_steps(script: ScriptDirectory, target: str, heads: Any) -> Any:
    """The steps of ``alembic upgrade``."""
    return script._upgrade_revs(target, heads)  # noqa: SLF001


def downgrade_steps(script: ScriptDirectory, target: str, heads: Any) -> Any:
    """The steps of ``alembic downgrade``."""
    return script._downgrade_revs(target, heads)  # noqa: SLF001


def options_of_the_command() -> dict[str, Any]:
    """What the command gave to Alembic: "fn" is what it came to do; ``configure()`` adds to it."""
    proxied: EnvironmentContext = alembic.context._proxy  # type: ignore[attr-defined]  # noqa: SLF001
    return proxied.context_opts


def is_revision_command() -> bool:
    """Whether the command is ``alembic revision`` or ``alembic check``."""
    return "revision_context" in options_of_the_command()
