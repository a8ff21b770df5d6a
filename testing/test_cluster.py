from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testing.cluster import Cluster


def test_the_server_is_of_the_version_that_was_asked_for(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as connection:
        assert connection.info.server_version // 10000 == cluster.version
