"""How long a history of ordinary revisions takes on an empty database: plain Alembic and Lockstep in turn.

``python -m benchmarks.histories [--revisions 100] [--rounds 5]``. Measured twice: the whole command
``alembic upgrade head``, and the command in a process that has imported everything before. Medians, and
their ratio; half of the runs of each kind begin with plain Alembic.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import alembic

from ordinary import revisions
from project import Project
from testing.cluster import Cluster

#: The most that Lockstep may take of plain Alembic's time.
BAR = 1.3

_ENVIRONMENTS = {
    "plain": """
from logging.config import fileConfig

from alembic import context
from sqlalchemy import create_engine, pool

fileConfig(context.config.config_file_name)
url = context.config.get_main_option("sqlalchemy.url")
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
""",
    "lockstep": """
import lockstep

lockstep.run()
""",
}

#: How both of them log: as the ini file says that `alembic init` writes.
_TEMPLATE = Path(alembic.__file__).parent / "templates/generic/alembic.ini.mako"
_LOGGING = _TEMPLATE.read_text()[_TEMPLATE.read_text().index("[loggers]") :]

#: What either of them imports, and nothing else of it counts in the second measurement.
_INSIDE = """
import sys, time
import alembic.command, alembic.config, psycopg, sqlalchemy.dialects.postgresql.psycopg
import {also}
started = time.perf_counter()
alembic.config.main(["-c", {ini!r}, "upgrade", "head"])
print(time.perf_counter() - started)
"""


def _project(folder: Path, kind: str, count: int) -> None:
    project = Project(folder / kind, "")
    for revision in revisions(count):
        project.revision(revision)
    for file in (folder / kind / "versions").iterdir():
        file.write_text(file.read_text().replace("import lockstep\n", ""))  # plain Alembic does without it
    (folder / kind / "env.py").write_text(_ENVIRONMENTS[kind])


def _run(cluster: Cluster, folder: Path, kind: str, *, whole: bool) -> float:
    """Upgrade an empty database; return the seconds that it took."""
    database = cluster.create_database()
    ini = folder / kind / "alembic.ini"
    ini.write_text(
        f"[alembic]\nscript_location = {folder / kind}\npath_separator = os\n"
        f"sqlalchemy.url = {cluster.url(database, 'psycopg').replace('%', '%%')}\n{_LOGGING}"
    )
    if whole:
        command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    else:
        also = "lockstep.postgres.syntax" if kind == "lockstep" else "logging.config"
        command = [sys.executable, "-c", _INSIDE.format(also=also, ini=str(ini))]
    # A package that was installed is compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    took = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    cluster.drop_database(database)
    return took if whole else float(done.stdout.splitlines()[-1])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories", description=__doc__)
    parser.add_argument("--revisions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    cluster = Cluster(18)
    missed = False
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for kind in _ENVIRONMENTS:
                _project(folder, kind, options.revisions)
                _run(cluster, folder, kind, whole=True)  # its files are compiled now
            for whole in (True, False):
                took: dict[str, list[float]] = {kind: [] for kind in _ENVIRONMENTS}
                for number in range(options.rounds):
                    for kind in list(_ENVIRONMENTS)[:: 1 if number % 2 else -1]:
                        took[kind].append(_run(cluster, folder, kind, whole=whole))
                plain, online = (statistics.median(took[kind]) for kind in _ENVIRONMENTS)
                ratio = online / plain
                missed |= ratio > BAR
                print(
                    f"{options.revisions} revisions, {'the whole command' if whole else 'without imports'}: "
                    f"plain {plain:.2f} s, Lockstep {online:.2f} s, {ratio:.2f} times"
                    f"{'' if ratio <= BAR else f'  MISSED: more than {BAR} times'}",
                    flush=True,
                )
    finally:
        cluster.remove()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
