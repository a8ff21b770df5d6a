"""Which revisions this program knows, and how far a database is from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alembic.config import Config
from alembic.script import ScriptDirectory

from folkmoot.postgres.models import Base
from lockstep.commands.status import UNDERWAY_QUERY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A `Column` for each that the tables have which the models name.
COLUMNS = """
    SELECT c.relname AS table, a.attname AS column,
           a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS required
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
     WHERE c.oid = ANY (ARRAY(SELECT to_regclass(quote_ident(t)) FROM unnest($1::text[]) AS t))
       AND a.attnum > 0 AND NOT a.attisdropped
"""
CURRENT = "SELECT version_num FROM alembic_version"
#: An `Underway` for each half-done revision; fails where no migration ever ran.
UNDERWAY = UNDERWAY_QUERY
#: The oldest revision that this program can serve on; what comes after it changes no answer.
OLDEST = "3fa95c07be21"


def config() -> Config:
    """Alembic's configuration for the migrations that came with this package."""
    made = Config()
    folder = Path(__file__).parents[1] / "migrations"
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


@cache
def scripts() -> ScriptDirectory:
    """The revisions that came with this package."""
    return ScriptDirectory.from_config(config())


@dataclass(frozen=True)
class Distance:
    """What separates a database from this program's head: at most one of the two has anything in it."""

    #: What a migration would run, oldest first, as "identifier message".
    missing: Sequence[str] = ()
    #: What the database is at and this program has never heard of.
    unknown: Sequence[str] = ()
    #: Whether the program could serve there, if it has every column that it uses.
    serves: bool = True

    def __str__(self) -> str:
        if self.unknown:
            return (
                f"This program is older than the schema: it does not know {', '.join(self.unknown)}. "
                "Use a newer one."
            )
        if self.missing:
            missing = ", ".join(self.missing)
            return f"The schema is behind this program; missing: {missing}. Run: folkmoot migrate"
        return "The schema is at head."


def distance(current: Iterable[str]) -> Distance:
    """How far a database at these revisions is from head."""
    found, current = scripts(), tuple(current)
    known = {script.revision for script in found.walk_revisions()}
    if unknown := [revision for revision in current if revision not in known]:
        return Distance(unknown=unknown)
    pending = list(found.iterate_revisions("heads", current or "base", implicit_base=True))
    return Distance(
        missing=[f"{script.revision} {script.doc}" for script in reversed(pending)],
        serves=all(script.revision != OLDEST for script in pending),
    )


@dataclass(frozen=True)
class Underway:
    """A revision that somebody works on now, or was stopped at."""

    revision: str
    direction: str


@dataclass(frozen=True)
class Column:
    """A column that a table has; where it is required, an INSERT has to name it."""

    table: str
    column: str
    required: bool


def half_done(underway: Iterable[Underway]) -> str:
    """A sentence for each half-done revision."""
    return " ".join(f"The {each.direction} of revision {each.revision} is half done." for each in underway)


def mismatch(columns: Iterable[Column]) -> str | None:
    """Why the models cannot work on tables with these columns, or None where they can."""
    found = {(column.table, column.column): column.required for column in columns}
    named = {(table.name, column.name) for table in Base.metadata.tables.values() for column in table.columns}
    if absent := sorted(named - found.keys()):
        return "It lacks " + ", ".join(".".join(name) for name in absent)
    if required := sorted(name for name in found.keys() - named if found[name]):
        return "It requires " + ", ".join(".".join(name) for name in required)
    return None


def tables() -> list[str]:
    """The names of the models' tables."""
    return [table.name for table in Base.metadata.tables.values()]
