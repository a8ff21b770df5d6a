"""What a revision that is under way has done, kept in the database that it changes.

Each step is written down in the same transaction as the step, so that another process can go on after any
stop. The ledger of a revision is deleted in the transaction that writes Alembic's version table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import sqlstate
from lockstep.revision import ledger_format
from lockstep.revision.ledger_format import ARCHIVE_SCHEMA, SCHEMA
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

__all__ = ["ARCHIVE_SCHEMA", "SCHEMA", "Entry", "Ledger", "Underway"]


@dataclass
class Entry:
    """One operation of the revision under way: its steps, and how many of them are done."""

    key: str
    position: int
    says: str
    steps: tuple[Step, ...]
    done: int
    fingerprint: str | None = None
    """A hash of the plain SQL of the operation; None where it is not known."""

    @property
    def finished(self) -> bool:
        return self.done >= len(self.steps)


@dataclass
class Underway:
    """A revision that was begun and has not been finished."""

    revision: str
    direction: str
    source_hash: str
    started_at: str
    error: str | None
    entries: list[Entry] = field(default_factory=list)

    def __str__(self) -> str:
        done = sum(entry.finished for entry in self.entries)
        reason = f"; it stopped with: {self.error.splitlines()[0]}" if self.error else ""
        return (
            f"the {self.direction} of revision {self.revision} is half done ({done} operations done){reason}"
        )


class Ledger:
    """The ledger of one version table, over a connection in autocommit mode or inside a transaction.

    The version table is known by its qualified name, as the search_path finds it, and by which relation that
    is: one that was dropped and made anew has a ledger of its own.
    """

    def __init__(self, version_table: str) -> None:
        self.version_table = version_table
        self._claimed = False

    @property
    def _here(self) -> dict[str, str]:
        return {"table": self.version_table}

    def locate(self, connection: Connection, name: str, schema: str | None) -> None:
        """Find out which table Alembic's version table is, which need not exist yet."""
        wanted = (f"{catalog.quote(schema)}." if schema else "") + catalog.quote(name)
        self.version_table = catalog.scalar(
            connection,
            """
            SELECT coalesce(
                (SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 WHERE c.oid = to_regclass(%(wanted)s)),
                coalesce(%(schema)s::text, current_schema()::text, '') || '.' || %(name)s::text)
            """,
            wanted=wanted,
            schema=schema,
            name=name,
        )

    def exists(self, connection: Connection) -> bool:
        return bool(
            catalog.scalar(
                connection,
                "SELECT to_regclass('lockstep.version_table') IS NOT NULL "
                "AND to_regclass('lockstep.control') IS NOT NULL "
                "AND to_regclass('lockstep.applied') IS NOT NULL",
            )
        )

    def create(self, connection: Connection) -> None:
        """Create Lockstep's schemas and tables where they are missing, bring older ones up to date.

        Needs CREATE on the database, once.
        """
        if self.exists(connection):
            return
        # Of several that start at once on a new database, for a version table each, one makes them.
        here = catalog.rows(
            connection,
            "SELECT current_user, current_database(), "
            "pg_advisory_xact_lock(hashtextextended('lockstep', 0))::text",
        )[0]
        user, database = catalog.quote(here[0]), catalog.quote(here[1])
        try:
            ledger_format.create(connection, self.version_table)
        except Exception as error:
            if sqlstate(error) != "42501":
                raise
            schemas = "; ".join(f"CREATE SCHEMA {one} AUTHORIZATION {user}" for one in ledger_format.SCHEMAS)
            raise LockstepError(
                f"Lockstep keeps its ledger and what downgrades drop in schemas of its own, which {user} may "
                f"not create: GRANT CREATE ON DATABASE {database} TO {user}, or {schemas}"
            ) from error

    def read_all(self, connection: Connection) -> list[Underway]:
        """The revisions under way, the one that was begun first at the front, each with its operations in the
        order in which they ran.
        """
        if not self.exists(connection):
            return self._entries(*ledger_format.read_older(connection, self.version_table))
        if not ledger_format.is_current(connection, self.version_table):
            return []
        revisions = catalog.rows(
            connection,
            "SELECT revision, direction, source_hash, started_at::text, error FROM lockstep.revision "
            "WHERE version_table = %(table)s ORDER BY lockstep.revision.started_at, revision",
            **self._here,
        )
        operations = catalog.rows(
            connection,
            "SELECT revision, key, position, says, steps::text, done, fingerprint FROM lockstep.operation "
            "WHERE version_table = %(table)s ORDER BY position",
            **self._here,
        ) if revisions else ()  # fmt: skip
        return self._entries(revisions, operations)

    def _entries(self, revisions: Sequence[Any], operations: Sequence[Any]) -> list[Underway]:
        underway = {
            row.revision: Underway(row.revision, row.direction, row.source_hash, row.started_at, row.error)
            for row in revisions
        }
        for row in operations:
            steps = tuple(Step.from_json(step) for step in json.loads(row.steps))
            entry = Entry(row.key, row.position, row.says, steps, row.done, row.fingerprint)
            underway[row.revision].entries.append(entry)
        return list(underway.values())

    def read(self, connection: Connection, revision: str | None = None) -> Underway | None:
        """The given revision, or else the first one, if it is under way; None otherwise."""
        found = self.read_all(connection)
        return next((one for one in found if revision in {None, one.revision}), None)

    def write(self, connection: Connection, underway: Underway, entry: Entry, done: int) -> None:
        """Write down how far an operation has come, in the transaction of the step that was done."""
        self.claim(connection)
        connection.exec_driver_sql(
            """
            WITH begun AS (
                INSERT INTO lockstep.revision (version_table, revision, direction, source_hash)
                VALUES (%(table)s, %(revision)s, %(direction)s, %(hash)s)
                ON CONFLICT (version_table, revision) DO UPDATE SET source_hash = excluded.source_hash
            )
            INSERT INTO lockstep.operation
                (version_table, revision, key, position, says, steps, done, fingerprint)
            VALUES (%(table)s, %(revision)s, %(key)s, %(position)s, %(says)s, %(steps)s, %(done)s, %(print)s)
            ON CONFLICT (version_table, revision, key) DO UPDATE SET done = excluded.done
            """,
            {
                **self._here,
                "revision": underway.revision,
                "direction": underway.direction,
                "hash": underway.source_hash,
                "key": entry.key,
                "position": entry.position,
                "says": entry.says,
                "steps": json.dumps([step.to_json() for step in entry.steps]),
                "done": done,
                "print": entry.fingerprint,
            },
        )

    def rolled_back(self) -> None:
        """The transaction that something was written in may have been rolled back."""
        self._claimed = False

    def begin(self, connection: Connection) -> None:
        """Set aside what was written about a version table of this name that is gone."""
        if not ledger_format.is_current(connection, self.version_table):
            ledger_format.claim(connection, self.version_table)

    def claim(self, connection: Connection) -> None:
        """Note which table the version table is, in the transaction that writes about it."""
        if not self._claimed:
            ledger_format.claim(connection, self.version_table)
            self._claimed = True

    def forget(self, connection: Connection, revision: str, key: str) -> None:
        """Take an operation out of the ledger, so that it is run again."""
        connection.exec_driver_sql(
            "DELETE FROM lockstep.operation "
            "WHERE version_table = %(table)s AND revision = %(revision)s AND key = %(key)s",
            {**self._here, "revision": revision, "key": key},
        )

    def fail(self, connection: Connection, revision: str, error: str) -> None:
        """Keep why the revision stopped, for who looks at it from outside."""
        connection.exec_driver_sql(
            "UPDATE lockstep.revision SET error = %(error)s "
            "WHERE version_table = %(table)s AND revision = %(revision)s",
            {**self._here, "revision": revision, "error": error},
        )

    def finish(self, connection: Connection, revision: str) -> None:
        """Forget the revision: it is done. In the transaction that writes the version table."""
        connection.exec_driver_sql(
            "DELETE FROM lockstep.revision WHERE version_table = %(table)s AND revision = %(revision)s",
            {**self._here, "revision": revision},
        )
