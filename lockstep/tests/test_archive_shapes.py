"""Whatever a table is like, its rows survive a downgrade and an upgrade, and every stop on the way."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest

from archive_shapes import SHAPES, TYPES, Shape
from column_shapes import COLUMN_SHAPES, ColumnShape
from killing import Points, counted, fail, in_child
from project import Project
from renamed_shapes import RENAMED_SHAPES
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.cluster import Cluster

ALL_SHAPES = [*SHAPES, *COLUMN_SHAPES, *RENAMED_SHAPES]


def _fail(connection: Any) -> None:
    fail(connection, "division_by_zero")


def _die(_connection: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Lifecycle:
    """A shape of a table with rows in it, and what becomes of them on ways that are stopped."""

    def __init__(self, cluster: Cluster, shape: Shape | ColumnShape, folder: Path) -> None:
        self.cluster = cluster
        self.project = Project(folder, "", short_way=False)  # in one transaction no stop leaves anything
        self.project.revision(shape.upgrade, shape.downgrade)
        self.filled = cluster.create_database()
        with cluster.connect(self.filled) as connection:
            connection.execute(TYPES)
            connection.execute(shape.before)
        self.go(self.filled, "up")
        with cluster.connect(self.filled) as connection:
            for statement in shape.rows.split("; "):
                connection.execute(statement)
        self.rows = rows_of(cluster, self.filled)
        self.catalog = catalog_of(cluster, self.filled)
        self.emptied = cluster.create_database(self.filled)
        self.go(self.emptied, "down")

    def go(self, database: str, *directions: str, short_way: bool = False) -> None:
        for direction in directions:
            url = self.cluster.url(database, "psycopg")
            if direction == "up":
                self.project.upgrade("head", url, short_way=short_way)
            else:
                self.project.downgrade("base", url, short_way=short_way)

    def points(self, direction: str) -> Points:
        """The statements of the direction."""
        database = self.cluster.create_database(self.emptied if direction == "up" else self.filled)
        with self.cluster.connect() as connection:
            points = counted(lambda: self.go(database, direction), connection)
        self.cluster.drop_database(database)
        return points

    def stopped(self, direction: str, strike: Callable[[Any], None], at: int, then: tuple[str, ...]) -> str:
        """Stop a direction at a statement, take the ways ``then``; what is not as it was before, or ""."""
        database = self.cluster.create_database(self.emptied if direction == "up" else self.filled)
        in_child(lambda: self.go(database, direction), strike, at)
        self.go(database, *then)
        found, catalog = rows_of(self.cluster, database), catalog_of(self.cluster, database)
        self.cluster.drop_database(database)
        if found != self.rows:
            return f"{direction} stopped at {at}, then {then}: {_difference(self.rows, found)}"
        if catalog != self.catalog:
            return f"{direction} stopped at {at}, then {then}: {set(catalog) ^ set(self.catalog)}"
        return ""


def _difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> str:
    for table, rows in before.items():
        there = after.get(table, [])
        if rows != there:
            gone, came = set(rows) - set(there), set(there) - set(rows)
            return f"{table}: {len(rows)} rows, now {len(there)}; gone {list(gone)[:2]}, new {list(came)[:2]}"
    return f"tables {sorted(after)}"


#: What is stopped, and the ways that are taken then; all of them end at the top.
WAYS = [("up", ("down", "up")), ("up", ("up",)), ("down", ("up",)), ("down", ("down", "up"))]


@pytest.fixture
def lifecycle(shape: Shape | ColumnShape, cluster: Cluster, tmp_path: Path) -> Iterator[Lifecycle]:
    found = Lifecycle(cluster, shape, tmp_path / "project")
    yield found
    cluster.drop_database(found.filled)
    cluster.drop_database(found.emptied)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape.name)
def test_its_rows_come_back(shape: Shape | ColumnShape, lifecycle: Lifecycle) -> None:
    for short_way in (True, False):
        lifecycle.go(lifecycle.emptied, "up", short_way=short_way)
        assert rows_of(lifecycle.cluster, lifecycle.emptied) == lifecycle.rows, shape.name
        assert catalog_of(lifecycle.cluster, lifecycle.emptied) == lifecycle.catalog, shape.name
        with lifecycle.cluster.connect(lifecycle.emptied) as connection:
            assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)
        lifecycle.go(lifecycle.emptied, "down", short_way=not short_way)


@pytest.mark.one_in(16)
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape.name)
def test_its_rows_survive_a_stop_at_one_statement(
    shape: Shape | ColumnShape, cluster18: Cluster, tmp_path: Path
) -> None:
    chance = random.Random(shape.name)
    lifecycle = Lifecycle(cluster18, shape, tmp_path / "project")
    (direction, then), strike = chance.choice(WAYS), chance.choice([_die, _fail])
    at = chance.randint(1, len(lifecycle.points(direction)))
    assert not lifecycle.stopped(direction, strike, at, then)


@pytest.mark.prove
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape.name)
def test_its_rows_survive_a_stop_anywhere(
    shape: Shape | ColumnShape, lifecycle: Lifecycle, record_property: Callable[[str, object], None]
) -> None:
    """Killed in each stretch in which nothing is committed, failed at each third statement that does more
    than read, with the ways on in turn; others each day.
    """
    chance = random.Random(f"{os.environ['LOCKSTEP_SEED']} {shape.name}")
    wrong: dict[str, list[str]] = {"killed": [], "failed": []}
    total = {"killed": 0, "failed": 0}
    for direction in ("up", "down"):
        points = lifecycle.points(direction)
        ways = [then for stopped, then in WAYS if stopped == direction]
        strikes = [("killed", at) for at in points.of_death(chance)]
        strikes += [("failed", at) for at in points.of_failure(chance)[chance.randrange(3) :: 3]]
        for number, (blow, at) in enumerate(strikes, start=chance.randrange(2)):
            then = ways[number % len(ways)]
            total[blow] += 1
            strike = _die if blow == "killed" else _fail
            wrong[blow] += filter(None, [lifecycle.stopped(direction, strike, at, then)])
    for blow, strikes_of_it in total.items():
        record_property("killed", (f"archive, {shape.name}", blow, strikes_of_it, len(wrong[blow])))
    assert not any(wrong.values()), "\n".join(wrong["killed"] + wrong["failed"])
