"""Alembic's operations under Lockstep, a file an operation family, with do, undo and check together.

Importing this package registers them all; ``register.py`` is how.
"""

from lockstep.operations import (
    add_column,
    add_constraint,
    alter_column,
    backfill,
    bulk_insert,
    check_constraint,
    create_index,
    create_table,
    drop_column,
    drop_constraint,
    drop_index,
    drop_table,
    execute,
    foreign_key,
    rename_table,
    table_comment,
    unique_constraint,
)
from lockstep.operations.register import OPTION

__all__ = [
    "OPTION",
    "add_column",
    "add_constraint",
    "alter_column",
    "backfill",
    "bulk_insert",
    "check_constraint",
    "create_index",
    "create_table",
    "drop_column",
    "drop_constraint",
    "drop_index",
    "drop_table",
    "execute",
    "foreign_key",
    "rename_table",
    "table_comment",
    "unique_constraint",
]
