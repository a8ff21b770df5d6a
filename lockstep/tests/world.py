"""A database of its own with some rows in it, and a project that changes them step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


class World:
    """A small table is changed as a large one is: ``short_way=False``."""

    def __init__(self, cluster: Cluster, folder: Path, tables: str) -> None:
        self.cluster = cluster
        self.name = cluster.create_database()
        self.project = Project(folder / "project", cluster.url(self.name, "psycopg"), short_way=False)
        self.run(tables)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with self.cluster.connect(self.name) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def state(self) -> tuple[list[str], dict[str, list[str]]]:
        """Schema and rows, whatever Alembic made for itself."""
        schema = [s for s in catalog_of(self.cluster, self.name) if "alembic_version" not in s]
        return schema, rows_of(self.cluster, self.name)
