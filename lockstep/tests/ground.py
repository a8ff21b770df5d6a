"""What the kill harness strikes on: the tables of the cases, and the circumstances of a revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cases import GRANTS, ROWS, SCHEMA

if TYPE_CHECKING:
    from testing.cluster import Cluster

#: How the revision runs: in one transaction; in one but for a table that is not small; in steps.
MODES = ("together", "mixed", "steps")


@dataclass(frozen=True)
class Circumstances:
    """What a revision finds."""

    mode: str = "steps"
    archive: bool = False
    """Whether an earlier downgrade of the same revision has kept something."""
    owner: bool = False
    """Whether it runs as an ordinary role that owns its tables, or as a superuser."""
    schema: str = "public"
    """Where the search_path leads: the same tables are in ``public`` and in ``app``."""

    def __str__(self) -> str:
        words = [self.mode, "archive" * self.archive, "owner" * self.owner, self.schema]
        return "-".join(word for word in words if word)


def template_of(cluster: Cluster, circumstances: Circumstances) -> str:
    """A database with the tables of the cases twice, in ``public`` and in ``app``: with all of their rows
    where the search_path leads, with a few in the other one.
    """
    name = cluster.create_database()
    large = "ALTER TABLE posts SET (fillfactor = 15)" if circumstances.mode == "mixed" else ""
    with cluster.connect(name) as connection:
        connection.execute(_ROLES)
        connection.execute(_SCHEMAS)
        for schema in ("public", "app"):
            connection.execute(f"SET ROLE migrator; SET search_path = {schema}")
            connection.execute(f"{SCHEMA} {large}; {ROWS} {GRANTS}; RESET ROLE")
            if schema != circumstances.schema:
                connection.execute(_FEW)
        connection.execute(_BEFORE)
    return name


_ROLES = """
DO $$ BEGIN
    CREATE ROLE migrator LOGIN;
    CREATE ROLE reader;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$
"""

_SCHEMAS = """
ALTER SCHEMA public OWNER TO migrator;
CREATE SCHEMA app AUTHORIZATION migrator;
CREATE SCHEMA lockstep AUTHORIZATION migrator;
CREATE SCHEMA lockstep_archive AUTHORIZATION migrator;
ALTER DEFAULT PRIVILEGES FOR ROLE migrator, postgres GRANT SELECT ON TABLES TO reader
"""

_FEW = """
DELETE FROM votes WHERE post_id > 3;
DELETE FROM posts WHERE id > 20;
DELETE FROM loose WHERE a > 20
"""

_BEFORE = """
CREATE SCHEMA before;
CREATE TABLE before.columns AS
SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'
"""

#: Each column that is new gets values of its own; what refuses them is left alone.
USE = """
DO $$
DECLARE
    added record;
BEGIN
    FOR added IN
        SELECT a.attrelid::regclass AS t, a.attname AS c, a.atttypid::regtype::text AS type
        FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid AND r.relkind = 'r'
        WHERE r.relnamespace = '{schema}'::regnamespace AND a.attnum > 0 AND a.attgenerated = ''
          AND r.relname <> 'alembic_version' AND NOT a.attisdropped AND NOT EXISTS (
            SELECT FROM before.columns b WHERE b.table_name = r.relname AND b.column_name = a.attname)
    LOOP
        BEGIN
            EXECUTE format(
                'UPDATE %s SET %I = %s WHERE ctid IN (SELECT ctid FROM %1$s ORDER BY ctid LIMIT 20)',
                added.t, added.c, CASE WHEN added.type IN ('integer', 'bigint') THEN '17'
                    WHEN added.type = 'boolean' THEN 'false' WHEN added.type = 'uuid' THEN 'gen_random_uuid()'
                    ELSE quote_literal('written ') || ' || ctid' END);
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
END $$
"""
