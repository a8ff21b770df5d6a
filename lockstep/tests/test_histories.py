"""Long chains end where plain Alembic ends, there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from histories import HISTORIES, NAMED
from project import Project
from state import catalog_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("cluster", "short_way"),
    [
        pytest.param(18, True, id="pg18-short"),
        pytest.param(18, False, id="pg18-long"),
        pytest.param(15, True, id="pg15-short"),
        pytest.param(15, False, id="pg15-long", marks=pytest.mark.prove),
    ],
    indirect=["cluster"],
)
@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_ends_where_plain_alembic_ends(
    name: str,
    short_way: bool,  # noqa: FBT001
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    plain, online = cluster.create_database(), cluster.create_database()
    project = Project(tmp_path / "project", "", target_metadata=NAMED)
    heads = [project.revision(*revision) for revision in HISTORIES[name]]
    way = [("upgrade", head) for head in heads] + [("downgrade", to) for to in [*heads[-2::-1], "base"]]
    for direction, to in way:
        run = getattr(project, direction)
        run(to, cluster.url(plain, "psycopg"), plain=True)
        run(to, cluster.url(online, "psycopg"), short_way=short_way)
        assert catalog_of(cluster, online) == catalog_of(cluster, plain), (direction, to)
    cluster.drop_database(plain)
    cluster.drop_database(online)
