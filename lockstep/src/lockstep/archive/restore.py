"""What is still kept for a revision when its upgrade has run to its end is given back then."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lockstep.archive import registry, renamed
from lockstep.archive.guard import forget, guarded_table
from lockstep.archive.restore_column import restore_column
from lockstep.archive.restore_tables import restore_tables
from lockstep.postgres import catalog
from lockstep.revision.performing import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.migrator import Migrator
    from lockstep.revision.planning import Planning
    from lockstep.steps.step import Step


def rewind_sequences(migrator: Migrator) -> None:
    """Let the sequences of tables that are empty, and whose rows are kept, begin at their start.

    A stop does not give back what was drawn: rows that the revision writes again would take the numbers of
    rows that are kept.
    """
    connection = migrator.planning.connection
    with migrator.unheard():
        for kept in registry.of_revision(migrator.planning):
            table = renamed.find_table(migrator.planning, kept) if kept.kind == "table" else None
            if table is not None and catalog.is_empty(connection, table):
                for column in kept.details["sequences"]:
                    catalog.scalar(
                        connection,
                        "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence "
                        "WHERE seqrelid = pg_get_serial_sequence(%(table)s, %(column)s)::regclass",
                        table=table.sql,
                        column=column,
                    )


def restore_the_rest(migrator: Migrator) -> None:
    """Give back whole tables, then columns, by the names that they have at the end of the revision: a table
    that it renamed, made by SQL of its own, or filled.

    Operations, written down like the revision's own. A downgrade writes down how much it has renamed.
    """
    with migrator.unheard():
        renamed.note_total(migrator.planning)
        kept = registry.of_revision(migrator.planning)
        given_back = _given_back(migrator.planning)
    tables = [one for one in kept if one.kind == "table"]
    columns = [one for one in kept if one.kind == "column"]
    if tables:
        _perform(migrator, "give back kept tables", lambda: restore_tables(migrator.planning, tables))
    if columns:
        _perform(migrator, "give back kept columns", lambda: _columns(migrator.planning, columns))
    for one, table in given_back:
        _perform(
            migrator,
            f"keep {one} no longer [{one.id}]",  # two may have had the name one after the other
            partial(forget, migrator.planning, one),
            (table.name, table.schema) if table else None,
        )


def _given_back(planning: Planning) -> list[tuple[Kept, Table | None]]:
    if planning.direction != "upgrade" or not planning.keeps:
        return []
    found = registry.given_back(planning.connection, planning.version_table, planning.revision)
    return [(one, guarded_table(planning.connection, one)) for one in found]


def _perform(
    migrator: Migrator,
    name: str,
    steps: Callable[[], list[Step]],
    table: tuple[str, str | None] | None = None,
) -> None:
    migrator.perform(Work(name, as_written=_nothing, steps=steps, undo=lambda: None, table=table))


def _columns(planning: Planning, kept: Sequence[Kept]) -> list[Step]:
    steps: list[Step] = []
    for one in kept:
        column = str(renamed.at_end(planning, one)[2])
        table = renamed.find_table(planning, one)
        found = catalog.columns(planning.connection, table.oid).get(column) if table else None
        if table is None or found is None or found.generated:
            planning.warn(f"there is no column {one} at the end of the revision; its values stay")
            continue
        steps += restore_column(planning, table, one, column, found.type_sql, found.default)
    return steps


def _nothing() -> None:
    """As written, there is nothing to give back."""
