"""PgBouncer in front of a server of the tests."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")

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
