"""What may be asked while an operation of a revision is planned."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.revision.renames import written

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.postgres.catalog import Table
    from lockstep.postgres.statements import Classified
    from lockstep.revision.renames import Rename
    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")

#: A table with no more than this on disk (TOAST included, indexes not) is small: what scans or rewrites it
#: takes a few milliseconds. Measured in docs/decisions/one-transaction.md.
SMALL = 256 * 1024


@dataclass
class Touched:
    """What the revision at hand has made so far, so that nobody else uses it yet."""

    created: set[tuple[str | None, str]] = field(default_factory=set)
    """Tables, as (schema, name)."""
    added: set[tuple[str, str]] = field(default_factory=set)
    """Columns, as (table, name)."""
    renames: list[Rename] = field(default_factory=list)
    """What it has renamed, in that order."""
    taken_for_empty: set[int] = field(default_factory=set)
    """The oids of tables that were found empty; looked at again under a lock."""
    unlinked: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """Foreign keys that it dropped, by (oid of the table, name): what its columns referred to. What was
    committed is not seen again when the function starts over, so they are kept."""
    continued: bool = False
    """Whether another process began the revision: foreign keys that it dropped are not known."""
    found: dict[tuple[str, str | None], Table | None] = field(default_factory=dict)
    """Tables that were looked up while the operation at hand is planned."""
    plans_small: bool = True
    """Whether an operation on a table that is small is planned, or runs as written without a plan."""
    unplanned: bool = False
    """Whether the operation at hand runs without a plan for this reason."""

    def clear(self) -> None:
        """The revision's function starts over."""
        self.created.clear()
        self.added.clear()
        self.renames.clear()
        self.taken_for_empty.clear()
        self.begin_operation()

    def begin_operation(self) -> None:
        """Nothing is known yet of the operation that is at hand now."""
        self.found.clear()
        self.unplanned = False


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
    places: list[int] = field(default_factory=list)
    """Numbers in the archive that nobody else has, not taken yet; most of them never are."""
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

    def note_written(self, classified: Classified) -> None:
        """The revision makes and renames these tables by SQL of its own."""
        for created in classified.creates:
            if created.kind == "table" and not created.if_not_exists:
                self.touched.created.add((created.schema, created.name))
        for rename in written(classified):
            self.note_rename(rename)

    def note_rename(self, rename: Rename) -> None:
        """A table or a column gets another name now. What the revision made goes by the new one; the old one
        may be taken by another.
        """
        self.touched.renames.append(rename)
        if rename.column is not None:
            columns = self.touched.added
            if (rename.table, rename.column) in columns:
                columns.discard((rename.table, rename.column))
                columns.add((rename.table, str(rename.new_name)))
            return
        schemas = {rename.schema, None}
        tables, new_schema = self.touched.created, rename.new_schema or rename.schema
        made = {(schema, rename.table) for schema in schemas} & tables
        tables -= made | {(schema, rename.new_name or rename.table) for schema in {new_schema, None}}
        if made:
            tables.add((new_schema, rename.new_name or rename.table))
        added = {one for one in self.touched.added if one[0] == rename.table}
        self.touched.added -= added
        self.touched.added |= {(rename.new_name or rename.table, column) for _, column in added}

    def next_place(self) -> int:
        """A number in the archive that nobody else has."""
        if not self.places:
            drawn = "SELECT nextval('lockstep.archive_id_seq') FROM generate_series(1, 50) ORDER BY 1 DESC"
            self.places.extend(int(row[0]) for row in catalog.rows(self.connection, drawn))
        return self.places.pop()

    def find_table(self, name: str, schema: str | None) -> Table | None:
        """The table of that name; asked once while an operation is planned."""
        if (name, schema) not in self.touched.found:
            self.touched.found[name, schema] = catalog.find_table(self.connection, name, schema)
        return self.touched.found[name, schema]

    def note_table(self, name: str, schema: str | None, table: Table | None) -> None:
        """The table of that name was looked up together with something else."""
        self.touched.found[name, schema] = table

    def needs_no_plan(self, table: Table) -> bool:
        """Whether an operation on the table takes a moment, whatever it is, and its plan is left out."""
        takes_a_moment = not self.touched.plans_small and table.size is not None and table.size <= SMALL
        self.touched.unplanned |= takes_a_moment
        return takes_a_moment

    def takes_short_way(self, table: Table) -> bool:
        """Whether a table is changed as written: nobody waits where there is nothing to read or rewrite."""
        if self.is_created(table.name, table.schema) or self.is_created(table.name, None):
            return True
        empty = self.short_way and (table.size == 0 or catalog.is_empty(self.connection, table))
        known = self.touched.taken_for_empty
        (known.add if empty else known.discard)(table.oid)
        return empty
