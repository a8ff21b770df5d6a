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


def log_of(cluster: Cluster, project: Project, to: str, *, plain: bool, **run: object) -> str:
    """What the server logs while an empty database is upgraded."""
    database = cluster.create_database()
    with cluster.connect(database) as connection:
        connection.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    before = len(cluster.log())
    project.upgrade(to, cluster.url(database, "psycopg"), plain=plain, **run)
    log = cluster.log()[before:]
    cluster.drop_database(database)
    return log


def statements(cluster: Cluster, project: Project, to: str, *, plain: bool) -> int:
    """How many statements the migrator's own session sends for an empty database."""
    log = log_of(cluster, project, to, plain=plain)
    sessions = Counter(re.findall(r"\[(\d+)\] LOG:  (?:statement|execute )", log))
    return max(sessions.values())


def test_a_revision_takes_a_bounded_number_of_statements_more_than_plain_alembic(
    cluster18: Cluster, project: Project
) -> None:
    more = [
        statements(cluster18, project, to, plain=False) - statements(cluster18, project, to, plain=True)
        for to in ("r10", "r20")
    ]
    assert more[1] - more[0] <= 15, "in ten revisions"
    assert more[0] <= 55, "with what a command begins with"


def test_a_revision_asks_who_uses_its_tables_only_where_others_are_connected(
    cluster18: Cluster, project: Project
) -> None:
    log = log_of(cluster18, project, "r10", plain=False)
    assert log.count("UPDATE account0") == 1
    # Three of its own statements come after an operation; autovacuum may have been there at one of them.
    assert log.count("l.mode IN ('ShareLock'") <= 1


def test_a_step_does_not_look_again_for_locks_that_it_holds(cluster18: Cluster, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "")
    project.revision(
        "op.create_table('parent', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.create_table('child', sa.Column('parent_id', sa.Integer(), sa.ForeignKey('parent.id')))"
    )
    project.revision("op.alter_column('parent', 'id', type_=sa.BigInteger(), existing_type=sa.Integer())")
    log = log_of(cluster18, project, "r2", plain=False, short_way=False)
    # The last step: the new column takes the old one's place, with its key and what refers to it.
    _, _, step = log.rpartition("LOCK TABLE public.child IN ACCESS EXCLUSIVE MODE")
    step = step.partition("COMMIT")[0]
    assert step.count("ALTER TABLE") >= 6
    # For the lock on the other table, and for what goes: that takes more than the table that it names.
    assert step.count("pg_stat_progress_vacuum") <= 4
