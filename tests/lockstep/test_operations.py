"""Each operation ends where plain Alembic ends: the same catalog, the same rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.lockstep.cases import CASES, ROWS, SCHEMA, Case
from tests.lockstep.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster import Cluster


@pytest.fixture(scope="module")
def templates() -> Iterator[dict[tuple[int, bool], str]]:
    yield {}


def start(cluster: Cluster, templates: dict[tuple[int, bool], str], *, filled: bool) -> str:
    key = (cluster.version, filled)
    if key not in templates:
        templates[key] = cluster.create_database()
        with cluster.connect(templates[key]) as connection:
            connection.execute(SCHEMA)
            if filled:
                connection.execute(ROWS)
    return cluster.create_database(templates[key])


def catalog_of(cluster: Cluster, database: str) -> str:
    """The schema as pg_dump writes it, the columns of each table in the order of their names."""
    dump = cluster.dump_schema(database)
    return re.sub(r"(?<=\(\n)(.*?)(?=\n\);)", lambda m: _sorted(m[0]), dump, flags=re.DOTALL)


def _sorted(body: str) -> str:
    return ",\n".join(sorted(line.strip().removesuffix(",") for line in body.split("\n")))


def rows_of(cluster: Cluster, database: str, without: str | None = None) -> dict[str, list[str]]:
    with cluster.connect(database) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        return {
            table: [
                row[0]
                for row in connection.execute(
                    f'SELECT (to_jsonb(t) - %s)::text FROM "{table}" t ORDER BY 1', [without or ""]
                )
            ]
            for (table,) in tables
        }


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_ends_where_plain_alembic_ends(
    case: Case,
    filled: bool,  # noqa: FBT001
    cluster: Cluster,
    templates: dict[tuple[int, bool], str],
    tmp_path: Path,
) -> None:
    project = Project(tmp_path / "project", "")
    project.revision(case.upgrade, case.downgrade)
    plain, online = (start(cluster, templates, filled=filled) for _ in range(2))
    try:
        for direction, to in (("upgrade", "head"), ("downgrade", "base")):
            run = getattr(project, direction)
            run(to, cluster.url(plain, "psycopg"), plain=True)
            run(to, cluster.url(online, "psycopg"), short_way=not filled)
            assert catalog_of(cluster, online) == catalog_of(cluster, plain), direction
            assert rows_of(cluster, online, case.volatile) == rows_of(cluster, plain, case.volatile), (
                direction
            )
            with cluster.connect(online) as connection:
                left = connection.execute("SELECT count(*) FROM lockstep.revision").fetchone()
                assert left == (0,)
    finally:
        cluster.drop_database(plain)
        cluster.drop_database(online)
