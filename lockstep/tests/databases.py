"""Databases for the tests of a file: on PostgreSQL 18 alone, with tables that are there before."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster


@cache
def _template(cluster: Cluster, tables: str) -> str:
    name = cluster.create_database()
    with cluster.connect(name) as connection:
        connection.execute(tables)
    return name


def database18(tables: str = "") -> Any:
    """A fixture: the name of a database with these tables, dropped afterwards."""

    @pytest.fixture
    def database(cluster18: Cluster) -> Iterator[str]:
        name = cluster18.create_database(_template(cluster18, tables) if tables else None)
        yield name
        cluster18.drop_database(name)

    return database


def on_tables(cluster: Cluster, database: str, folder: Path, tables: str, **run: Any) -> Project:
    """A project without revisions, on tables that are there before it."""
    with cluster.connect(database) as connection:
        connection.execute(tables)
    return Project(folder / "project", cluster.url(database, "psycopg"), **run)


def at_first_revision(project: Project, table: str = "first") -> Project:
    """The project, upgraded to a revision that creates a table."""
    project.revision(f"op.create_table('{table}', sa.Column('id', sa.Integer(), primary_key=True))")
    project.upgrade()
    return project
