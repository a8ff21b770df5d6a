"""How many statements a history takes, next to plain Alembic: what makes it slow on a database at rest."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ordinary import revisions
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project", "")
    for revision in revisions(20):
        project.revision(revision)
    return project


def statements(cluster: Cluster, project: Project, to: str, *, plain: bool) -> int:
    """How many statements the migrator's own session sends for an empty database."""
    database = cluster.create_database()
    with cluster.connect(database) as connection:
        connection.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    before = len(cluster.log())
    project.upgrade(to, cluster.url(database, "psycopg"), plain=plain)
    log = cluster.log()[before:]
    cluster.drop_database(database)
    sessions = Counter(re.findall(r"\[(\d+)\] LOG:  (?:statement|execute )", log))
    return max(sessions.values())


def test_a_revision_takes_a_bounded_number_of_statements_more_than_plain_alembic(
    cluster18: Cluster, project: Project
) -> None:
    more = [
        statements(cluster18, project, to, plain=False) - statements(cluster18, project, to, plain=True)
        for to in ("r10", "r20")
    ]
    assert more[1] - more[0] <= 18, "in ten revisions"
    assert more[0] <= 75, "with what a command begins with"
