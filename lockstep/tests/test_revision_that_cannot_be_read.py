"""A revision's file that Python cannot read is a line with its name in every command, and no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import database18
from snapshot_project import alembic, lockstep, three_revisions

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def def\n", "c.py, line 1: invalid syntax"),
        ("import nowhere\n", "c.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_it_is_one_line(text: str, said: str, tmp_path: Path, cluster18: Cluster, database: str) -> None:
    project = three_revisions(tmp_path, cluster18.url(database, "psycopg"))
    alembic(project, "upgrade", "b")
    (project / "migrations" / "versions" / "c.py").write_text(text)
    for command in ("plan", "adopt", "check", "snapshot", "diff head", "rebase", "status", "history"):
        status, lines, errors = lockstep(project, *command.split())
        assert status == 2, command
        assert lines == []
        assert len(errors.splitlines()) == 1
        assert errors.startswith("lockstep: ")
        assert errors.endswith(said)
