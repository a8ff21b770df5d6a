"""What may be asked while an operation of a revision is planned."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

from lockstep.errors import LockstepError
from lockstep.postgres import catalog

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")


@dataclass
class Touched:
    """What the revision at hand has made so far, so that nobody else uses it yet."""

    created: set[tuple[str | None, str]] = field(default_factory=set)
    """Tables, as (schema, name)."""
    added: set[tuple[str, str]] = field(default_factory=set)
    """Columns, as (table, name)."""
    taken_for_empty: set[int] = field(default_factory=set)
    """The oids of tables that were found empty; looked at again under a lock."""
    unlinked: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """Foreign keys that it dropped, by (oid of the table, name): what its columns referred to. What was
    committed is not seen again when the function starts over, so they are kept."""

    def clear(self) -> None:
        """The revision's function starts over."""
        self.created.clear()
        self.added.clear()
        self.taken_for_empty.clear()


@dataclass(frozen=True)
class Planning:
    """What an operation's planner may ask about the revision at hand: its connection, names, compiled SQL."""

    context: MigrationContext
    pace: Pace
    version_table: str
    """As the ledger and the archive know it."""
    revision: str = ""
    direction: str = ""
    """``upgrade`` or ``downgrade``."""
    short_way: bool = True
    keeps: bool = False
    """Whether the archive has anything that upgrades of this version table may give back."""
    touched: Touched = field(default_factory=Touched)

    @property
    def connection(self) -> Connection:
        found = self.context.connection
        if found is None:  # pragma: no cover - only in --sql mode, where nothing asks
            raise LockstepError("there is no connection in --sql mode")
        return found

    @property
    def offline(self) -> bool:
        return bool(self.context.as_sql)

    def plain_operations(self) -> Operations:
        """Alembic's operations outside of any batch, in the same context."""
        return Operations(self.context)

    def compile(self, element: Any) -> str:
        """The text of a DDL element, as PostgreSQL reads it."""
        dialect = self.context.dialect
        text = str(element.compile(dialect=dialect)).strip()
        return text.replace("%%", "%") if dialect.paramstyle in {"format", "pyformat"} else text

    def name_of(self, element: Any) -> str:
        """The name of an index or a constraint as PostgreSQL gets it: a naming convention's is shortened
        to 63 characters with a digest at its end. Raises IdentifierError for another one that is too long.
        """
        formatted = self.context.dialect.identifier_preparer.format_constraint(element, _alembic_quote=False)
        return str(formatted)

    def warn(self, message: str) -> None:
        """Tell what could not be done the online way."""
        log.warning("%s", message)

    def in_savepoint(self) -> bool:
        """Whether the revision has a savepoint open, which nothing can be committed inside of."""
        return not self.offline and self.connection.in_nested_transaction()

    def has_added(self, table: str, *columns: str) -> bool:
        """Whether the revision at hand added all of these columns to the table."""
        return all((table, column) in self.touched.added for column in columns)

    def is_created(self, name: str, schema: str | None) -> bool:
        """Whether the revision at hand created the table, so that nobody uses it yet."""
        return (schema, name) in self.touched.created

    def takes_short_way(self, table: Table) -> bool:
        """Whether a table is changed as written: nobody waits where there is nothing to read or rewrite."""
        if self.is_created(table.name, table.schema) or self.is_created(table.name, None):
            return True
        empty = self.short_way and (table.size == 0 or catalog.is_empty(self.connection, table))
        known = self.touched.taken_for_empty
        (known.add if empty else known.discard)(table.oid)
        return empty
