"""Each operation ends where plain Alembic ends: the same catalog, the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lockstep.cases import CASES, ROWS, SCHEMA, Case
from tests.lockstep.project import Project
from tests.lockstep.state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster import Cluster


class Pair:
    """Two databases that are alike: one for plain Alembic, one for Lockstep."""

    def __init__(self, cluster: Cluster, *, filled: bool) -> None:
        self.plain, self.online = cluster.create_database(), cluster.create_database()
        for database in (self.plain, self.online):
            with cluster.connect(database) as connection:
                connection.execute(SCHEMA + (ROWS if filled else ""))


@pytest.fixture(scope="module")
def pairs() -> dict[tuple[int, bool], Pair]:
    """Shared by the cases: each goes up and down again, so the next finds what it expects."""
    return {}


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_ends_where_plain_alembic_ends(
    case: Case,
    filled: bool,  # noqa: FBT001
    cluster: Cluster,
    pairs: dict[tuple[int, bool], Pair],
    tmp_path: Path,
) -> None:
    pair = pairs.pop((cluster.version, filled), None) or Pair(cluster, filled=filled)
    project = Project(tmp_path / "project", "", name=case.name[:28])
    project.revision(case.upgrade, case.downgrade)
    for direction, to in (("upgrade", "head"), ("downgrade", "base")):
        run = getattr(project, direction)
        run(to, cluster.url(pair.plain, "psycopg"), plain=True)
        run(to, cluster.url(pair.online, "psycopg"), short_way=not filled)
        assert catalog_of(cluster, pair.online) == catalog_of(cluster, pair.plain), direction
        rows = rows_of(cluster, pair.plain, case.volatile)
        assert rows_of(cluster, pair.online, case.volatile) == rows, direction
    with cluster.connect(pair.online) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.revision").fetchone() == (0,)
    pairs[cluster.version, filled] = pair  # not where it failed: the next case starts anew
