"""A project of sixty revisions of every kind: planned, run, verified, and taken down and up again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

import sixty
from command_line import ENV, typed
from databases import database18
from project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.mark.prove
def test_all_of_it(
    tmp_path: Path, cluster18: Cluster, database: str, record_property: Callable[[str, object], None]
) -> None:
    url = cluster18.url(database, "psycopg")
    sixty.write(Project(tmp_path / "migrations", url))
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (tmp_path / "migrations" / "env.py").write_text(ENV.format(url=url, before=""))

    def run(program: str, *arguments: str, status: tuple[int, ...] = (0,)) -> str:
        began = time.perf_counter()
        found, output, errors = typed(tmp_path, program, *arguments)
        record_property(" ".join([program, *arguments]), f"{time.perf_counter() - began:.1f} s")
        assert found in status, output + errors
        assert "Traceback" not in output + errors
        return output

    def planned(target: str) -> set[str]:
        told: Any = json.loads(run("lockstep", "plan", target, "--json", status=(0, 1)))
        return {operation["revision"] for operation in told["plain"]}

    everything = {f"r{number}" for number in range(1, 61)}
    silent = {"r60"}  # it merges, and sends nothing of its own
    assert planned("head") >= everything - silent - {"r12"}  # which has no rows to change yet
    run("alembic", "upgrade", "head")
    run("lockstep", "snapshot")
    assert len(list((tmp_path / "migrations" / "snapshots").iterdir())) == 60
    run("lockstep", "verify", "--no-models")
    run("lockstep", "check", "--irreversible", "r11")  # nothing takes a value out of an enum
    assert planned("base") >= everything - silent - {"r11", "r12"}  # whose downgrades do nothing
    with cluster18.connect(database) as connection:
        connection.execute(
            "INSERT INTO people (email, age, name) SELECT n || '@x.y', n, 'n' FROM generate_series(1, 50) n"
        )
        connection.execute("INSERT INTO posts (title, content, person_id) SELECT 't', 'c', id FROM people")
        before = connection.execute("SELECT count(*), sum(age) FROM people").fetchall()
    run("alembic", "downgrade", "base")
    run("alembic", "upgrade", "head")
    run("lockstep", "verify", "--no-models")
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT count(*), sum(age) FROM people").fetchall() == before
        assert connection.execute("SELECT count(*) FROM posts").fetchall() == [(50,)]
