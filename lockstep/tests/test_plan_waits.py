"""Who waits for long by `lockstep plan`, and who does while the same revision runs on tables in use."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from alembic import command

from cases import CASES, SCHEMA, Case
from lockstep.commands.plan import planned
from lockstep.commands.project import Project as Planned
from lockstep.plan.judgement import HazardName, hazards, waits
from project import Project
from service_probes import TABLES, service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lockstep.plan.operation import PlannedOperation
    from lockstep.plan.target import Target
    from testing.cluster import Cluster

ROWS = 150_000

FILLED = f"""
INSERT INTO people (email, age, mood, note)
SELECT 'Person' || n || '@example.com', n % 90, CASE WHEN n % 2 = 0 THEN 'glad'::mood END, 'n' || n
FROM generate_series(1, {ROWS}) n;
INSERT INTO posts (title, body, owner_id, score, code)
SELECT 'Title ' || n, CASE WHEN n % 9 = 0 THEN 'body ' || n END, n % 300 + 1, n % 40, 'c' || n
FROM generate_series(1, {ROWS}) n;
INSERT INTO votes SELECT n % 300 + 1, n FROM generate_series(1, {ROWS}) n;
INSERT INTO votes VALUES (1, 1) ON CONFLICT DO NOTHING;
INSERT INTO loose SELECT n, n % 7, 'c' || n FROM generate_series(1, {ROWS}) n;
INSERT INTO kept (label) SELECT 'k' || n FROM generate_series(1, {ROWS}) n;
"""


@cache
def _template(cluster: Cluster) -> str:
    """The tables with their rows, at revision ``r1``."""
    name = cluster.create_database()
    with cluster.connect(name) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(FILLED.encode())
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('r1')")
        connection.execute("VACUUM ANALYZE")
    return name


@pytest.fixture
def database(cluster18: Cluster) -> Iterator[str]:
    name = cluster18.create_database(_template(cluster18))
    yield name
    cluster18.drop_database(name)


def told(operations: Sequence[PlannedOperation], target: Target) -> set[tuple[str, str]]:
    """Who waits for long, as the plan has it."""
    long = [wait for each in waits(operations, target).values() for wait in each if wait.long_for]
    found = {(wait.lock.table.name, "write") for wait in long}
    found |= {(wait.lock.table.name, "read") for wait in long if wait.reads}
    rows = [one for one in hazards(operations, target) if one.name is HazardName.ROWS]
    written = {table.name for one in rows for table in one.tables}
    found |= {(name, "rows") for name in written if (name, "write") not in found}
    return {one for one in found if one[0] in TABLES}  # of sequences, too, the plan tells


@pytest.mark.prove
@pytest.mark.parametrize("how", ["plain", "lockstep"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_those_wait_of_whom_the_plan_says_so(
    case: Case,
    how: str,
    tmp_path: Path,
    cluster18: Cluster,
    database: str,
    record_property: Callable[[str, object], None],
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision("\n".join(f"op.execute({one!r})" for one in SCHEMA.split(";") if one.strip()))
    project.revision(case.upgrade, case.downgrade)
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    of = Planned([str(ini)], "alembic")
    config = project.config(plain=how == "plain")
    of.config.attributes.update(config.attributes)
    plan = planned(of, "head", None, [])
    expected = told(plan.runs, plan.target)
    with service(cluster18, database) as probes:
        command.upgrade(config, "head")
    found = {one for one in probes.waits if one[1] != "rows" or (one[0], "write") not in probes.waits}
    record_property("waits", (case.name, how, sorted(expected), sorted(found)))
    assert found == expected, (expected, probes.waits)
