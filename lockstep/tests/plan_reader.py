"""A role that may only read, and what is planned for a project."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import ops

from lockstep.plan.data import findings
from lockstep.plan.operation import PlannedOperation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockstep.plan.finding import Finding
    from project import Project
    from testing.cluster import Cluster

_READER = """
DO $$ BEGIN
    CREATE ROLE plan_looker LOGIN;
    ALTER ROLE plan_looker SET default_transaction_read_only = on;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;
DO $$
DECLARE place text;
BEGIN
    FOR place IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|information_schema' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO plan_looker', place);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO plan_looker', place);
    END LOOP;
END $$;
"""


@contextmanager
def looking(cluster: Cluster, database: str) -> Iterator[sa.Connection]:
    """A connection of a role that may only read."""
    with cluster.connect(database) as connection:
        connection.execute(_READER.replace("{database}", database).encode())
    url = cluster.url(database, "psycopg").replace("postgres@", "plan_looker@")
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as plan_looker:
        yield plan_looker


def planned(project: Project) -> list[PlannedOperation]:
    """What plain Alembic sends for the revisions, as ``alembic upgrade --sql`` writes it."""
    parts = re.split(r"-- Running upgrade .*?(\w+)\n", project.sql(plain=True))
    return [
        PlannedOperation(revision, "upgrade", ops.ExecuteSQLOp(""), (sql.replace("%%", "%"),), None)
        for revision, sql in zip(parts[1::2], parts[2::2], strict=True)
    ]


def asked(cluster: Cluster, database: str, project: Project, **limits: Any) -> list[Finding]:
    """What is found by a role that may only read."""
    with looking(cluster, database) as connection:
        return findings(connection, planned(project), **limits)
