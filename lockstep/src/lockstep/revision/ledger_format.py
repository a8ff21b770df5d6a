"""The tables that the ledger and the archive are kept in: made, and brought up to date from older ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lockstep.postgres import catalog
from lockstep.postgres.servers import database_of
from lockstep.postgres.session import execute
from lockstep.revision import history
from lockstep.steps import control

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.lockstep")

SCHEMA = "lockstep"
ARCHIVE_SCHEMA = "lockstep_archive"

#: What each schema is for; a role that may not create schemas is given both by somebody who may.
SCHEMAS = {SCHEMA: "Lockstep: revisions under way", ARCHIVE_SCHEMA: "Lockstep: what downgrades dropped"}

_CREATE = """
CREATE TABLE IF NOT EXISTS lockstep.revision (
    version_table text NOT NULL,
    revision text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('upgrade', 'downgrade')),
    source_hash text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    error text,
    PRIMARY KEY (version_table, revision)
);
CREATE TABLE IF NOT EXISTS lockstep.operation (
    version_table text NOT NULL,
    revision text NOT NULL,
    key text NOT NULL,
    position integer NOT NULL,
    says text NOT NULL,
    steps jsonb NOT NULL,
    done integer NOT NULL,
    fingerprint text,
    PRIMARY KEY (version_table, revision, key),
    FOREIGN KEY (version_table, revision) REFERENCES lockstep.revision ON DELETE CASCADE ON UPDATE CASCADE
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
CREATE TABLE IF NOT EXISTS lockstep.version_table (
    name text PRIMARY KEY,
    relation oid NOT NULL,
    database text NOT NULL
);
"""

#: From the format in which a version table had one entry, under its name as env.py wrote it.
_FROM_ONE_ENTRY = """
ALTER TABLE lockstep.operation ADD COLUMN revision text, ADD COLUMN fingerprint text;
UPDATE lockstep.operation o SET revision = r.revision FROM lockstep.revision r
WHERE r.version_table = o.version_table;
ALTER TABLE lockstep.operation DROP CONSTRAINT operation_version_table_fkey,
    DROP CONSTRAINT operation_pkey, ALTER COLUMN revision SET NOT NULL;
ALTER TABLE lockstep.revision DROP CONSTRAINT revision_pkey, ADD PRIMARY KEY (version_table, revision);
ALTER TABLE lockstep.operation ADD PRIMARY KEY (version_table, revision, key),
    ADD FOREIGN KEY (version_table, revision) REFERENCES lockstep.revision
    ON DELETE CASCADE ON UPDATE CASCADE;
"""

_RELATION = """
(SELECT coalesce((SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE nspname || '.' || relname = %(table)s AND relkind IN ('r', 'p')), 0::oid))
"""


def create(connection: Connection, version_table: str) -> None:
    """Create the schemas and tables, or bring those of an older Lockstep up to date."""
    schemas = [
        f"IF to_regnamespace('{schema}') IS NULL THEN CREATE SCHEMA {schema}; "
        f"COMMENT ON SCHEMA {schema} IS {catalog.literal(comment)}; END IF;"
        for schema, comment in SCHEMAS.items()
    ]
    older = _is_older(connection)
    if older:
        execute(connection, _FROM_ONE_ENTRY)
        log.info("the ledger of an older Lockstep was brought up to date")
    # As one: psycopg may have been told to prepare what it sends.
    statements = " ".join((*schemas, _CREATE, control.CREATE, history.CREATE))
    execute(connection, f"DO {catalog.literal(f'BEGIN {statements} END')}")
    if older:
        _rename(connection, _older_name(version_table), version_table)


def _is_older(connection: Connection) -> bool:
    return bool(
        catalog.scalar(
            connection,
            "SELECT to_regclass('lockstep.operation') IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute "
            "WHERE attrelid = to_regclass('lockstep.operation') AND attname = 'revision')",
        )
    )


def read_older(connection: Connection, version_table: str) -> tuple[list[Any], list[Any]]:
    """The half-done revision and its operations, as an older Lockstep wrote them; none without one."""
    if not _is_older(connection):
        return [], []
    name = _older_name(version_table)
    revisions = catalog.rows(
        connection,
        "SELECT revision, direction, source_hash, started_at::text, error FROM lockstep.revision "
        "WHERE version_table = %(name)s",
        name=name,
    )
    operations = catalog.rows(
        connection,
        "SELECT r.revision, o.key, o.position, o.says, o.steps::text, o.done, NULL::text AS fingerprint "
        "FROM lockstep.operation o JOIN lockstep.revision r USING (version_table) "
        "WHERE version_table = %(name)s ORDER BY position",
        name=name,
    )
    return revisions, operations


def _older_name(version_table: str) -> str:
    """What it called a version table whose schema env.py does not name."""
    return f".{version_table.partition('.')[2]}"


def is_current(connection: Connection, version_table: str) -> bool:
    """Whether what is written under the name of the version table is about the table of that name now."""
    return not catalog.scalar(
        connection,
        f"SELECT EXISTS (SELECT FROM lockstep.version_table WHERE name = %(table)s "
        f"AND database = %(database)s AND relation NOT IN (0, {_RELATION}))",
        table=version_table,
        database=_database(connection),
    )


def _database(connection: Connection) -> str:
    """Which database this is: another one was copied or restored, and its relations have other oids."""
    found = database_of(connection)
    return f"{found.system_identifier}/{found.oid}"


def claim(connection: Connection, version_table: str) -> None:
    """Let the name stand for the version table that there is now.

    What is written about one of the same name that is gone (its schema was dropped, say) is no longer true:
    its half-done revisions are forgotten, what is kept of it stays under a name of its own.
    """
    if not is_current(connection, version_table):
        gone = catalog.scalar(
            connection,
            "SELECT name || ' (gone, oid ' || relation || ')' FROM lockstep.version_table "
            "WHERE name = %(table)s",
            table=version_table,
        )
        log.warning(
            "%s was made anew since Lockstep last wrote about it; what was half done before is forgotten",
            version_table,
        )
        connection.exec_driver_sql(
            "DELETE FROM lockstep.revision WHERE version_table = %(table)s", {"table": version_table}
        )
        _rename(connection, version_table, gone)
    connection.exec_driver_sql(
        f"INSERT INTO lockstep.version_table (name, relation, database) "
        f"VALUES (%(table)s, {_RELATION}, %(database)s) "
        "ON CONFLICT (name) DO UPDATE SET relation = excluded.relation, database = excluded.database",
        {"table": version_table, "database": _database(connection)},
    )


def _rename(connection: Connection, old: str, new: str) -> None:
    for table in ("revision", "archive", "applied"):
        connection.exec_driver_sql(
            f"UPDATE lockstep.{table} SET version_table = %(new)s WHERE version_table = %(old)s",
            {"old": old, "new": new},
        )
