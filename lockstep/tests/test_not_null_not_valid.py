"""NOT NULL of a column that has one NOT VALID, as PostgreSQL 18 knows it, validates that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import database18, on_tables
from state import state_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

TABLES = """
CREATE TABLE people (id integer PRIMARY KEY, age integer);
INSERT INTO people SELECT n, n FROM generate_series(1, 100) n;
ALTER TABLE people ADD CONSTRAINT aged NOT NULL age NOT VALID;
"""
NOT_NULL = "op.alter_column('people', 'age', nullable=False)"

database = database18()


def test_it_is_validated_as_by_plain_alembic(cluster18: Cluster, database: str, tmp_path: Path) -> None:
    project = on_tables(cluster18, database, tmp_path, TABLES, short_way=False)
    by_plain = cluster18.create_database(database)
    project.revision(NOT_NULL)
    project.upgrade("head", cluster18.url(by_plain, "psycopg"), plain=True)
    project.upgrade()
    assert state_of(cluster18, database).difference(state_of(cluster18, by_plain)) is None
    cluster18.drop_database(by_plain)


def test_rows_without_a_value_are_named_and_the_constraint_is_left_as_it_was(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    old = TABLES.replace("SELECT n, n", "SELECT n, nullif(n, 7)")
    project = on_tables(cluster18, database, tmp_path, old, short_way=False)
    before = cluster18.dump_schema(database)
    project.revision(NOT_NULL)
    with pytest.raises(sa.exc.IntegrityError) as refused:
        project.upgrade()
    assert any('"id": 7' in note for note in refused.value.__notes__)
    with cluster18.connect(database) as connection:
        connection.execute("DROP TABLE IF EXISTS alembic_version")
    assert cluster18.dump_schema(database) == before


def test_what_was_validated_is_taken_back(cluster18: Cluster, database: str, tmp_path: Path) -> None:
    project = on_tables(cluster18, database, tmp_path, TABLES, short_way=False)
    before = cluster18.dump_schema(database)
    project.revision(f"{NOT_NULL}\nraise RuntimeError('stopped')")
    with pytest.raises(RuntimeError, match="stopped"):
        project.upgrade()
    project.downgrade("base")
    with cluster18.connect(database) as connection:
        connection.execute("DROP TABLE IF EXISTS alembic_version")
    assert cluster18.dump_schema(database) == before
