"""What a downgrade drops comes back when the same revision runs up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cases import ROWS, SCHEMA
from databases import on_tables
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from project import Project
    from testing.cluster import Cluster

UP = """
op.create_table('tags', sa.Column('id', sa.Integer(), primary_key=True),
    sa.Column('parent_id', sa.Integer(), sa.ForeignKey('tags.id')),
    sa.Column('post_id', sa.Integer(), sa.ForeignKey('posts.id', ondelete='CASCADE'), nullable=False),
    sa.Column('mood', postgresql.ENUM(name='mood', create_type=False)),
    sa.Column('word', sa.String(), nullable=False, unique=True))
op.add_column('posts', sa.Column('extra', sa.JSON()))
op.add_column('posts', sa.Column('live', sa.Boolean(), server_default='TRUE', nullable=False))
op.add_column('people', sa.Column('feels', postgresql.ENUM(name='mood', create_type=False)))
op.backfill('people', {'feels': 'sad'})
op.alter_column('people', 'feels', nullable=False)
"""
DOWN = """
op.drop_column('people', 'feels')
op.drop_column('posts', 'live')
op.drop_column('posts', 'extra')
op.drop_table('tags')
"""
WRITTEN = """
INSERT INTO tags (parent_id, post_id, mood, word)
    SELECT CASE WHEN n > 5 THEN n - 5 END, n, 'glad', 'w' || n FROM generate_series(1, 50) n;
UPDATE posts SET extra = to_json('e' || id), live = id % 2 = 0 WHERE id % 3 > 0;
UPDATE people SET feels = 'glad' WHERE id % 2 = 0;
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision(UP, DOWN)
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute(WRITTEN)
    return project


def test_down_and_up_again_brings_back_every_row_and_value(
    project: Project, cluster: Cluster, database: str
) -> None:
    catalog, rows = catalog_of(cluster, database), rows_of(cluster, database)
    for _ in range(2):
        project.downgrade("base")
        project.upgrade()
        assert catalog_of(cluster, database) == catalog
        assert rows_of(cluster, database) == rows
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)
        assert connection.execute(
            "INSERT INTO tags (post_id, word) VALUES (1, 'new') RETURNING id"
        ).fetchone() == (51,)


def test_a_downgrade_leaves_the_public_catalog_that_plain_alembic_leaves(
    project: Project, cluster: Cluster, database: str
) -> None:
    twin = cluster.create_database(database)
    project.downgrade("base", cluster.url(twin, "psycopg"), plain=True)
    project.downgrade("base")
    assert catalog_of(cluster, database) == catalog_of(cluster, twin)
    cluster.drop_database(twin)


def test_what_is_kept_blocks_nothing(project: Project, cluster: Cluster, database: str) -> None:
    project.downgrade("base")
    with cluster.connect(database) as connection:
        connection.execute("DELETE FROM posts WHERE id = 1")
        connection.execute("TRUNCATE posts, votes")
        connection.execute("ALTER TABLE people DROP COLUMN mood")
        connection.execute("DROP TYPE mood")
        connection.execute("CREATE TABLE tags (id integer)")
        connection.execute("DROP TABLE tags")
        connection.execute("DROP TABLE votes, posts, people")


def test_what_was_written_meanwhile_wins_and_orphans_are_set_aside(
    project: Project, cluster: Cluster, database: str
) -> None:
    project.downgrade("base")
    with cluster.connect(database) as connection:
        connection.execute("DELETE FROM posts WHERE id = 3")
        connection.execute("INSERT INTO posts (title) VALUES ('meanwhile')")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM posts WHERE title = 'meanwhile' AND live"
        ).fetchone() == (1,)
        # Tag 3 lost its post; 8, 13 … 48 descend from it.
        assert connection.execute("SELECT count(*) FROM tags").fetchone() == (40,)
        found = connection.execute("SELECT state, table_name FROM lockstep.archive").fetchall()
    assert found == [("set aside", "tags")]


def test_what_now_was_when_a_column_was_added_counts_as_untouched(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision(
        "op.add_column('posts', sa.Column('seen_at', sa.DateTime(True), server_default=sa.text('now()')))",
        "op.drop_column('posts', 'seen_at')",
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE posts SET seen_at = to_timestamp(id) WHERE id % 2 = 0")
    before = rows_of(cluster, database)
    project.downgrade("base")
    project.upgrade()
    assert rows_of(cluster, database) == before


def test_derived_data_is_not_kept(cluster: Cluster, database: str, tmp_path: Path) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS)
    project.revision(
        "op.add_column('posts', sa.Column('votes', sa.Integer(), server_default='0', nullable=False))",
        "with lockstep.derived():\n    op.drop_column('posts', 'votes')",
    )
    project.upgrade()
    project.downgrade("base")
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)
