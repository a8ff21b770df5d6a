"""What a revision that is under way has done, kept in the database that it changes.

Each step is written down in the same transaction as the step, so that another process can go on after any
stop. The ledger of a revision is deleted in the transaction that writes Alembic's version table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, sqlstate
from lockstep.steps import control
from lockstep.steps.step import Step

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SCHEMA = "lockstep"
ARCHIVE_SCHEMA = "lockstep_archive"

#: What each schema is for; a role that may not create schemas is given both by somebody who may.
_SCHEMAS = {SCHEMA: "Lockstep: revisions under way", ARCHIVE_SCHEMA: "Lockstep: what downgrades dropped"}

_CREATE = """
CREATE TABLE IF NOT EXISTS lockstep.revision (
    version_table text PRIMARY KEY,
    revision text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('upgrade', 'downgrade')),
    source_hash text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    error text
);
CREATE TABLE IF NOT EXISTS lockstep.operation (
    version_table text NOT NULL REFERENCES lockstep.revision ON DELETE CASCADE,
    key text NOT NULL,
    position integer NOT NULL,
    says text NOT NULL,
    steps jsonb NOT NULL,
    done integer NOT NULL,
    PRIMARY KEY (version_table, key)
);
CREATE TABLE IF NOT EXISTS lockstep.archive (
    id bigserial PRIMARY KEY,
    version_table text NOT NULL,
    revision text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('table', 'column')),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text,
    place text NOT NULL,
    details jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('keeping', 'kept', 'set aside')),
    kept_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass
class Entry:
    """One operation of the revision under way: its steps, and how many of them are done."""

    key: str
    position: int
    says: str
    steps: tuple[Step, ...]
    done: int

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


class Ledger:
    """The ledger of one version table, over a connection in autocommit mode or inside a transaction."""

    def __init__(self, version_table: str) -> None:
        self.version_table = version_table

    def exists(self, connection: Connection) -> bool:
        return bool(catalog.scalar(connection, "SELECT to_regclass('lockstep.control')"))

    def create(self, connection: Connection) -> None:
        """Create Lockstep's schemas and tables where they are missing. Needs CREATE on the database, once."""
        if self.exists(connection):
            return
        names = catalog.rows(connection, "SELECT current_user, current_database()")[0]
        user, database = (catalog.quote(name) for name in names)
        try:
            for schema, comment in _SCHEMAS.items():
                if not catalog.scalar(connection, "SELECT to_regnamespace(%(name)s)", name=schema):
                    execute(connection, f"CREATE SCHEMA {schema}")
                    execute(connection, f"COMMENT ON SCHEMA {schema} IS {catalog.literal(comment)}")
            execute(connection, _CREATE + control.CREATE)
        except Exception as error:
            if sqlstate(error) != "42501":
                raise
            schemas = "; ".join(f"CREATE SCHEMA {schema} AUTHORIZATION {user}" for schema in _SCHEMAS)
            raise LockstepError(
                f"Lockstep keeps its ledger and what downgrades drop in schemas of its own, which {user} may "
                f"not create: GRANT CREATE ON DATABASE {database} TO {user}, or {schemas}"
            ) from error

    def read(self, connection: Connection) -> Underway | None:
        """The revision under way, with its operations in the order in which they ran; None without one."""
        if not self.exists(connection):
            return None
        found = catalog.rows(
            connection,
            "SELECT revision, direction, source_hash, started_at::text, error FROM lockstep.revision "
            "WHERE version_table = %(name)s",
            name=self.version_table,
        )
        if not found:
            return None
        underway = Underway(*found[0])
        underway.entries = [
            Entry(key, position, says, tuple(Step.from_json(step) for step in json.loads(steps)), done)
            for key, position, says, steps, done in catalog.rows(
                connection,
                "SELECT key, position, says, steps::text, done FROM lockstep.operation "
                "WHERE version_table = %(name)s ORDER BY position",
                name=self.version_table,
            )
        ]
        return underway

    def write(
        self,
        connection: Connection,
        underway: Underway,
        entry: Entry,
        done: int,
    ) -> None:
        """Write down how far an operation has come, in the transaction of the step that was done."""
        connection.exec_driver_sql(
            """
            WITH begun AS (
                INSERT INTO lockstep.revision (version_table, revision, direction, source_hash)
                VALUES (%(table)s, %(revision)s, %(direction)s, %(hash)s) ON CONFLICT DO NOTHING
            )
            INSERT INTO lockstep.operation (version_table, key, position, says, steps, done)
            VALUES (%(table)s, %(key)s, %(position)s, %(says)s, %(steps)s, %(done)s)
            ON CONFLICT (version_table, key) DO UPDATE SET done = excluded.done
            """,
            {
                "table": self.version_table,
                "revision": underway.revision,
                "direction": underway.direction,
                "hash": underway.source_hash,
                "key": entry.key,
                "position": entry.position,
                "says": entry.says,
                "steps": json.dumps([step.to_json() for step in entry.steps]),
                "done": done,
            },
        )

    def forget(self, connection: Connection, key: str) -> None:
        """Take an operation out of the ledger, so that it is run again."""
        connection.exec_driver_sql(
            "DELETE FROM lockstep.operation WHERE version_table = %(table)s AND key = %(key)s",
            {"table": self.version_table, "key": key},
        )

    def fail(self, connection: Connection, error: str) -> None:
        """Keep why the revision stopped, for who looks at it from outside."""
        connection.exec_driver_sql(
            "UPDATE lockstep.revision SET error = %(error)s WHERE version_table = %(table)s",
            {"table": self.version_table, "error": error},
        )

    def finish(self, connection: Connection) -> None:
        """Forget the revision: it is done. In the transaction that writes the version table."""
        connection.exec_driver_sql(
            "DELETE FROM lockstep.revision WHERE version_table = %(table)s", {"table": self.version_table}
        )
