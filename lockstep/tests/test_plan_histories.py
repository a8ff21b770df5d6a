"""Of what goes through, nothing is said to fail: long histories, and each case of every operation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa

from cases import CASES, ROWS, SCHEMA
from databases import database18
from histories import HISTORIES
from lockstep.plan.data import findings
from lockstep.plan.operation import PlannedOperation
from plan_reader import looking
from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cases import Case
    from testing.cluster import Cluster

database = database18(SCHEMA + ROWS)


@contextmanager
def sent() -> Iterator[list[PlannedOperation]]:
    """What is sent to PostgreSQL in the block, with its values written in."""
    found: list[PlannedOperation] = []

    def hear(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        driver = connection.connection.dbapi_connection
        sets = parameters if isinstance(parameters, list) else [parameters]
        written = [psycopg.ClientCursor(driver).mogrify(statement, values or None) for values in sets]
        found.append(PlannedOperation("r", "upgrade", None, tuple(written), None))

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)


def nothing_is_said_to_fail(cluster: Cluster, before: str, operations: list[PlannedOperation]) -> None:
    assert operations
    with looking(cluster, before) as connection:
        assert [str(one) for one in findings(connection, operations) if one.fails] == []


@pytest.mark.parametrize("name", HISTORIES)
def test_of_a_history_nothing_is_said_to_fail(name: str, cluster18: Cluster, tmp_path: Path) -> None:
    """From nothing, and from half way; and all the way down."""
    database = cluster18.create_database()
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    heads = [project.revision(*revision) for revision in HISTORIES[name]]
    for target in (heads[len(heads) // 2], heads[-1], "base"):
        before = cluster18.create_database(database)
        with sent() as operations:
            if target == "base":
                project.downgrade(target, plain=True)
            else:
                project.upgrade(target, plain=True)
        nothing_is_said_to_fail(cluster18, before, operations)
        cluster18.drop_database(before)
    cluster18.drop_database(database)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.one_in(6)
def test_of_an_operation_nothing_is_said_to_fail(
    case: Case, cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(case.upgrade, case.downgrade)
    before = cluster18.create_database(database)
    with sent() as up:
        project.upgrade(plain=True)
    nothing_is_said_to_fail(cluster18, before, up)
    cluster18.drop_database(before)
    before = cluster18.create_database(database)
    with sent() as down:
        project.downgrade("base", plain=True)
    nothing_is_said_to_fail(cluster18, before, down)
    cluster18.drop_database(before)
