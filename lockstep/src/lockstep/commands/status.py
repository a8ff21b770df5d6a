"""What can be seen from outside: a revision that is half done, and what downgrades have kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.archive import registry as archive
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, transaction
from lockstep.revision.ledger import ARCHIVE_SCHEMA, Ledger

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Underway

#: For a program that serves, over its own driver: the half-done revisions, as rows of (revision, direction).
#: Fails with undefined_table (42P01) or invalid_schema_name (3F000) where Lockstep has never run.
UNDERWAY_QUERY = "SELECT revision, direction FROM lockstep.revision ORDER BY started_at"


@dataclass(frozen=True)
class Status:
    """What Lockstep knows about one version table of a database."""

    database: str
    version_table: str
    heads: tuple[str, ...]
    underway: list[Underway]
    """The revisions that are half done: on branches there may be several."""
    kept: list[archive.Kept]
    pending: tuple[str, ...] = ()
    """The revisions between here and the heads, in the order in which they would run."""
    unknown: tuple[str, ...] = ()
    """Of the heads those of which no file here is."""

    def to_json(self) -> dict[str, Any]:
        return {
            "database": self.database,
            "version_table": self.version_table,
            "heads": list(self.heads),
            "pending": list(self.pending),
            "half_done": [
                {
                    "revision": underway.revision,
                    "direction": underway.direction,
                    "started_at": underway.started_at,
                    "error": underway.error,
                    "operations": [
                        {
                            "operation": entry.says,
                            "done": entry.done,
                            "steps": [step.description for step in entry.steps],
                        }
                        for entry in underway.entries
                    ],
                }
                for underway in self.underway
            ],
            "kept": len(self.kept),
        }


def status(connection: Connection, version_table: str, heads: tuple[str, ...]) -> Status:
    """Read the status; locks nothing."""
    kept = archive.kept_of(connection, version_table)
    database = str(catalog.scalar(connection, "SELECT current_database()"))
    return Status(database, version_table, heads, Ledger(version_table).read_all(connection), kept)


def lines(half_done: list[Underway], kept: list[archive.Kept]) -> list[str]:
    """What is half done and what is kept in a line each: nothing where there is nothing."""
    told = [str(underway) for underway in half_done]
    if kept:
        told.append(f"kept of what downgrades dropped: {len(kept)}; see: lockstep archive")
    return told


def archived(connection: Connection, version_table: str) -> list[dict[str, Any]]:
    """What is kept of a version table, and of earlier ones of its name."""
    told = sizes(connection, archive.of_version_table(connection, version_table))
    for one in told:
        if one["version_table"] != version_table:
            one["state"] += ", of an earlier database"
    return told


def sizes(connection: Connection, kept: list[archive.Kept]) -> list[dict[str, Any]]:
    """Each kept table or column with its bytes and rows: estimated; None where this role may not count."""
    told = []
    for one in kept:
        rows, size, may_count = catalog.rows(
            connection,
            "SELECT CASE WHEN c.reltuples > 0 THEN c.reltuples END::bigint, pg_total_relation_size(c.oid), "
            "has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %(schema)s AND c.relname = %(name)s",
            schema=ARCHIVE_SCHEMA,
            name=one.place,
        )[0]
        if rows is None and may_count:
            rows = catalog.scalar(connection, f"SELECT count(*) FROM {one.sql}")
        told.append(
            {
                "id": one.id, "revision": one.revision, "what": str(one), "kind": one.kind,
                "kept_at": one.kept_at, "rows": rows, "bytes": int(size), "state": one.state,
                "version_table": one.version_table,
                "place": f"{ARCHIVE_SCHEMA}.{one.place}",
            }
        )  # fmt: skip
    return told


def purge(connection: Connection, kept: list[archive.Kept]) -> None:
    """Remove what is kept, for good; each in a transaction of its own. Autocommit connections only."""
    for one in kept:
        with transaction(connection):
            execute(connection, f"DROP TABLE IF EXISTS {one.sql}")
            execute(connection, f"DELETE FROM lockstep.archive WHERE id = {one.id}")
