"""What is kept follows the names that a revision gives: where it was kept it may have had another one than it
has when it is given back.

A downgrade writes down the names that its tables and columns had before it began, which are those at the end
of the upgrade. A half-done upgrade that is taken back writes down how many renames came before what it takes
away: those that follow it are applied to the name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.catalog import qualified
from lockstep.revision.renames import earlier, later

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.archive.registry import Kept
    from lockstep.postgres.catalog import Table
    from lockstep.revision.planning import Planning
    from lockstep.revision.renames import Name


def _path(planning: Planning) -> Sequence[str]:
    """The schemas that a name without one is looked for in; asked only where something was renamed."""
    if not planning.touched.renames:
        return ()
    return tuple(
        json.loads(catalog.scalar(planning.connection, "SELECT to_json(current_schemas(false))::text"))
    )


def before(planning: Planning, name: Name) -> Name:
    """The name that something had before the revision at hand began."""
    return earlier(planning.touched.renames, name, _path(planning))


def columns_before(planning: Planning, table: Table, columns: Iterable[str]) -> dict[str, str]:
    """The names that columns of a table had before the revision at hand began."""
    return {name: str(before(planning, (table.schema, table.name, name))[2]) for name in columns}


def details(planning: Planning, table: Table, columns: Iterable[str], column: str | None) -> dict[str, Any]:
    """What is written down beside something that a downgrade keeps."""
    if not planning.touched.renames:
        return {"passed": 0}
    return {
        "end": before(planning, (table.schema, table.name, column)),
        "columns": columns_before(planning, table, columns),
        "passed": len(planning.touched.renames),
    }


def undone(planning: Planning) -> dict[str, Any]:
    """And beside what is kept where a half-done upgrade is taken back."""
    return {"after": len(planning.touched.renames)}


def at_end(planning: Planning, kept: Kept) -> Name:
    """The name of what is kept at the end of the revision, which has come there."""
    name = (kept.schema, kept.table, kept.column)
    if "after" in kept.details:
        return later(planning.touched.renames[kept.details["after"] :], name, _path(planning))
    schema, table, column = kept.details.get("end", name)
    return (schema, table, column)


def columns_at_end(planning: Planning, kept: Kept) -> Mapping[str, str]:
    """The names that columns of a kept table, or of a kept column's key, have at the end of the revision."""
    names = kept.details["types"] if kept.kind == "table" else kept.details["key"]
    if "after" in kept.details:
        renames, path = planning.touched.renames[kept.details["after"] :], _path(planning)
        return {name: str(later(renames, (kept.schema, kept.table, name), path)[2]) for name in names}
    written = kept.details.get("columns", {})
    return {name: written.get(name, name) for name in names}


def find_table(planning: Planning, kept: Kept) -> Table | None:
    """The table at the end of the revision."""
    schema, name, _ = at_end(planning, kept)
    return catalog.find_table(planning.connection, name, schema)


def made_here(planning: Planning, kept: Sequence[Kept], name: Name) -> list[Kept]:
    """Of the columns that are kept, those that the one is that the revision adds now by this name.

    Two columns may have had the name one after the other: a downgrade that goes the way back has as many
    renames to come when it keeps one as the upgrade has before it.
    """
    here = len(planning.touched.renames)

    def is_here(one: Kept) -> bool:
        if "total" in one.details:
            return bool(one.details["total"] - one.details["passed"] == here)
        return bool(one.details.get("after", here) == here)

    return [one for one in kept if (one.schema, one.table, one.column) == name and is_here(one)]


def note_total(planning: Planning) -> None:
    """At the end of a downgrade that has renamed something: how many renames there were."""
    if planning.direction == "downgrade" and planning.touched.renames:
        catalog.scalar(
            planning.connection,
            "UPDATE lockstep.archive SET details = details || jsonb_build_object('total', %(total)s) "
            "WHERE version_table = %(version_table)s AND revision = %(revision)s AND state = 'kept' "
            "AND details ? 'passed' AND NOT details ? 'total' RETURNING id",
            total=len(planning.touched.renames),
            version_table=planning.version_table,
            revision=planning.revision,
        )


def names_of(kept: Kept) -> set[tuple[str, str]]:
    """The names of a kept table, as far as they are written down."""
    return {(kept.schema, kept.table), tuple(kept.details.get("end", (kept.schema, kept.table)))[:2]}


def now(connection: Connection, table: Table, kept: Kept) -> tuple[list[str], str] | None:
    """The key and the name, by now, of a column that was given back; None where they are gone.

    By number; where another column has taken the place of one (of another type), by the name that it had.
    """
    there = catalog.columns(connection, table.oid)
    by_number = {column.number: name for name, column in there.items()}
    names = kept.details.get("names", [*kept.details["key"], kept.column])
    numbers = kept.details.get("numbers", [0] * len(names))
    found = [by_number.get(number, name) for name, number in zip(names, numbers, strict=True)]
    return (found[:-1], found[-1]) if all(name in there for name in found) else None


def parent(planning: Planning, key: Mapping[str, Any], *, ended: bool) -> str:
    """The table that a foreign key referred to, as SQL: by its name here or at the end of the revision."""
    end = qualified(key["end"][1], key["end"][0]) if "end" in key else key["parent"]
    first, second = (end, key["parent"]) if ended else (key["parent"], end)
    there = catalog.scalar(planning.connection, "SELECT to_regclass(%(name)s)", name=first)
    return str(first if there else second)
