"""A database of its own with some rows in it, and a project that changes them step by step."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from lockstep.steps.run import run_step
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    import lockstep
    from lockstep.steps.step import Step
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


class during:  # noqa: N801  # reads as what it is
    """Runs a statement on another connection just before a step begins."""

    def __init__(self, world: World, step: str, statement: str) -> None:
        self.world = world
        self.step = step
        self.statement = statement

    def __enter__(self) -> None:
        self.told = threading.Event()
        self.patch = pytest.MonkeyPatch()

        def watched(
            connection: sa.Connection, pace: lockstep.Pace, step: Step, *rest: Any, **more: Any
        ) -> None:
            if self.step in step.description and not self.told.is_set():
                self.told.set()
                self.world.run(self.statement)
            run_step(connection, pace, step, *rest, **more)

        self.patch.setattr("lockstep.revision.performing.run_step", watched)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()
        assert self.told.is_set()
