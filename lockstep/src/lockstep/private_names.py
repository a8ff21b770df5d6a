"""Private names of Alembic and SQLAlchemy that Lockstep needs, in one place.

A test for each tells in one line when an upgrade takes one away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa
    from alembic.operations import ops
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
