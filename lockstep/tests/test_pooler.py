"""Through PgBouncer: refused where a session's lock would be lost, accepted where a session is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from lockstep import LockstepError
from project import Project
from testing.pooler import PGBOUNCER, pooled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is not installed: poolers were not tested"
)


@pytest.fixture
def project(cluster18: Cluster, tmp_path: Path) -> Iterator[Project]:
    database = cluster18.create_database()
    made = Project(tmp_path / "project", database)
    made.revision(
        "op.create_table('things', sa.Column('id', sa.Integer()))\n"
        "op.execute('INSERT INTO things VALUES (1)')"
    )
    made.revision("op.create_index('things_id', 'things', ['id'])")
    yield made
    cluster18.drop_database(database)


def test_a_pooler_in_transaction_mode_is_refused_before_anything_is_done(
    cluster18: Cluster, project: Project
) -> None:
    with pooled(cluster18, "transaction") as folder:
        url = f"postgresql+psycopg://postgres@/{project.url}?host={folder}&port=6432"
        for _ in range(3):  # the pool has connections by now, in another order
            with pytest.raises(LockstepError, match="give Lockstep a direct connection to PostgreSQL"):
                project.upgrade(url=url)
        with psycopg.connect(url.replace("+psycopg", ""), prepare_threshold=None) as connection:
            found = connection.execute(
                "SELECT to_regclass('things'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            ).fetchone()
        assert found == (None, 0)


def test_a_pooler_in_session_mode_is_accepted(cluster18: Cluster, project: Project) -> None:
    with pooled(cluster18, "session") as folder:
        project.upgrade(url=f"postgresql+psycopg://postgres@/{project.url}?host={folder}&port=6432")
    with cluster18.connect(project.url) as connection:
        assert connection.execute("SELECT to_regclass('things_id')").fetchone() == ("things_id",)
