"""The index and the constraints that a new column brings along are named as by plain Alembic."""

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
CREATE SCHEMA side;
CREATE TABLE people (id integer PRIMARY KEY);
CREATE TABLE side.people (id integer PRIMARY KEY);
INSERT INTO people SELECT generate_series(1, 9);
INSERT INTO side.people SELECT generate_series(1, 9);
"""
COLUMNS = """
op.add_column('people', sa.Column('a', sa.Integer(), index=True))
op.add_column('people', sa.Column('b', sa.Integer(), sa.ForeignKey('people.id'), unique=True))
op.add_column('people', sa.Column('c', sa.Integer(), index=True), schema='side')
op.add_column('people', sa.Column('d', sa.Integer(), unique=True), schema='side')
"""
BY_LABEL = {
    "ix": "index_of_%(column_0_label)s",
    "uq": "uq_%(column_0_label)s",
    "fk": "fk_%(column_0_label)s_%(referred_table_name)s",
}

database = database18()


@pytest.mark.parametrize("convention", [None, BY_LABEL])
def test_on_a_table_in_use_as_on_any_other(
    cluster18: Cluster, database: str, tmp_path: Path, convention: dict[str, str] | None
) -> None:
    metadata = sa.MetaData(naming_convention=convention)
    project = on_tables(cluster18, database, tmp_path, TABLES, short_way=False, target_metadata=metadata)
    by_plain = cluster18.create_database(database)
    project.revision(COLUMNS)
    project.upgrade("head", cluster18.url(by_plain, "psycopg"), plain=True)
    project.upgrade()
    assert state_of(cluster18, database).difference(state_of(cluster18, by_plain)) is None
    cluster18.drop_database(by_plain)
