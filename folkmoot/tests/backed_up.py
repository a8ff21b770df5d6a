"""What the tests of backups and of restores share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.backups import manifest, restoring
from folkmoot.commands.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


def conninfo(cluster: Cluster, name: str, user: str = "postgres") -> dict[str, str]:
    return {"host": str(cluster.folder), "port": str(cluster.port), "user": user, "dbname": name}


def databases(cluster: Cluster) -> list[str]:
    with cluster.connect() as connection:
        rows = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def restored(cluster: Cluster, target: str, taken: Path) -> set[int]:
    """Restore into this database, see that it is whole, and return the ids of its posts."""
    found = manifest.read(taken)
    where = conninfo(cluster, target)
    restoring.restore(where, taken, found)
    assert restoring.schema_differences(where, ()) == []
    with cluster.connect(target) as connection:
        assert restoring.differing(connection, found) == []
        assert recount(connection, repair=False) == []
        connection.execute("RESET ALL")
        return {post for (post,) in connection.execute("SELECT id FROM posts").fetchall()}
