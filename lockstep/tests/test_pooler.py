"""Through PgBouncer: refused where a session's lock would be lost, accepted where a session is one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from lockstep import LockstepError
from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is not installed: poolers were not tested"
)

_SETTINGS = """
[databases]
* = host={cluster} port={port} user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
default_pool_size = 5
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pooled(cluster: Cluster, mode: str) -> Iterator[Path]:
    """PgBouncer in front of the cluster; gives the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(_SETTINGS.format(cluster=cluster.folder, port=cluster.port, folder=folder, mode=mode))
    command = [PGBOUNCER or "", "-q", str(settings)]
    if os.geteuid() == 0:  # it refuses to run as root; who runs the cluster may open its socket
        owner = cluster.folder.stat().st_uid
        os.chown(folder, owner, -1)
        settings.chmod(0o644)
        command += ["-u", pwd.getpwuid(owner).pw_name]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, "PgBouncer did not start"
            assert time.monotonic() < deadline, "PgBouncer does not listen"
            time.sleep(0.01)
        yield folder
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


@pytest.fixture
def project(cluster18: Cluster, tmp_path: Path) -> Iterator[Project]:
    database = cluster18.create_database()
    made = Project(tmp_path / "project", database)
    made.revision(
        "op.create_table('things', sa.Column('id', sa.Integer()))\n"
        "op.execute('INSERT INTO things VALUES (1)')"
    )
    made.revision("op.create_index('things_id', 'things', ['id'])")
    yield made
    cluster18.drop_database(database)


def test_a_pooler_in_transaction_mode_is_refused_before_anything_is_done(
    cluster18: Cluster, project: Project
) -> None:
    with pooled(cluster18, "transaction") as folder:
        url = f"postgresql+psycopg://postgres@/{project.url}?host={folder}&port=6432"
        for _ in range(3):  # the pool has connections by now, in another order
            with pytest.raises(LockstepError, match="give Lockstep a direct connection to PostgreSQL"):
                project.upgrade(url=url)
        with psycopg.connect(url.replace("+psycopg", ""), prepare_threshold=None) as connection:
            found = connection.execute(
                "SELECT to_regclass('things'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            ).fetchone()
        assert found == (None, 0)


def test_a_pooler_in_session_mode_is_accepted(cluster18: Cluster, project: Project) -> None:
    with pooled(cluster18, "session") as folder:
        project.upgrade(url=f"postgresql+psycopg://postgres@/{project.url}?host={folder}&port=6432")
    with cluster18.connect(project.url) as connection:
        assert connection.execute("SELECT to_regclass('things_id')").fetchone() == ("things_id",)
