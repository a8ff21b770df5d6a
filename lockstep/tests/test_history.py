"""``lockstep history``: when a revision was applied, by whom, how long it took."""

from __future__ import annotations

import getpass
import json
import socket
from typing import TYPE_CHECKING

import pytest

from command_line import revision, typed
from databases import database18
from snapshot_project import PLAIN, alembic, env, lockstep, three_revisions

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    return three_revisions(tmp_path, cluster18.url(database, "psycopg"))


def told(project: Path) -> list[dict[str, object]]:
    status, output, errors = typed(project, "lockstep", "history", "--json")
    assert status == 0, errors
    found: list[dict[str, object]] = json.loads(output)
    return found


def test_upgrades_downgrades_and_stamps_are_written_down(project: Path) -> None:
    alembic(project, "upgrade", "b")
    alembic(project, "downgrade", "a")
    alembic(project, "stamp", "c")
    found = told(project)
    assert [(one["revision"], one["direction"]) for one in found] == [
        ("a", "upgrade"), ("b", "upgrade"), ("b", "downgrade"), ("c", "stamp"),
    ]  # fmt: skip
    assert {one["role"] for one in found} == {"postgres"}
    assert {one["os_user"] for one in found} == {getpass.getuser()}
    assert {one["host"] for one in found} == {socket.gethostname()}
    assert all(0 <= float(str(one["seconds"])) < 60 for one in found)
    assert str(found[0]["applied_at"]).endswith("Z")


def test_a_message_with_any_characters_is_kept_as_it_is(project: Path) -> None:
    message = "100 % of 'quotes' \\ and %(names)s: :it's"
    path = project / "migrations" / "versions" / "a.py"
    path.write_text(f"{message!r}\n{path.read_text()}")
    alembic(project, "upgrade", "a")
    alembic(project, "stamp", "--purge", "a")
    assert [one["message"] for one in told(project)] == [message, message]


def test_what_was_applied_before_lockstep_says_so(project: Path, cluster18: Cluster, database: str) -> None:
    adopted = (project / "migrations" / "env.py").read_text()
    env(project, PLAIN, cluster18, database)
    alembic(project, "upgrade", "b")
    (project / "migrations" / "env.py").write_text(adopted)
    alembic(project, "upgrade", "head")
    _, lines, _ = lockstep(project, "history")
    assert [line.split()[0] for line in lines] == ["a", "b", "c"]
    assert lines[0] == "a  applied before a history was kept"
    assert "upgrade at" in lines[2]


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / "migrations" / "versions" / f"{name}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_failed_revision_is_in_no_history(project: Path) -> None:
    edit(project, "b", "def upgrade():", "def upgrade():\n    1 / 0")
    assert typed(project, "alembic", "upgrade", "head")[0] == 1
    assert [one["revision"] for one in told(project)] == ["a"]


def test_merged_branches_are_written_down_each(project: Path) -> None:
    edit(project, "c", "down_revision = 'b'", "down_revision = 'a'")
    edit(project, "c", "['title']", "['id']")
    revision(project, "d", "pass", "b")
    edit(project, "d", "down_revision = 'b'", "down_revision = ('b', 'c')")
    alembic(project, "upgrade", "head")
    alembic(project, "downgrade", "base")
    found = told(project)
    assert sorted(str(one["revision"]) for one in found) == sorted("aabbccdd")
    assert [one["direction"] for one in found] == ["upgrade"] * 4 + ["downgrade"] * 4


def test_a_ledger_of_an_older_lockstep_gets_a_history(
    project: Path, cluster18: Cluster, database: str
) -> None:
    alembic(project, "upgrade", "b")
    with cluster18.connect(database) as connection:
        connection.execute("DROP TABLE lockstep.applied")
    assert {one["direction"] for one in told(project)} == {None}
    alembic(project, "upgrade", "head")
    found = {one["revision"]: one["direction"] for one in told(project)}
    assert found == {"a": None, "b": None, "c": "upgrade"}


@pytest.mark.parametrize("plain", [True, False])
def test_status_tells_what_is_pending(project: Path, cluster18: Cluster, database: str, plain: bool) -> None:  # noqa: FBT001  # a parameter
    if plain:
        env(project, PLAIN, cluster18, database)
    assert lockstep(project, "status")[:2] == (
        0, ["at base", "pending: a, b, c (alembic upgrade head)", "nothing is half done"],
    )  # fmt: skip
    alembic(project, "upgrade", "b")
    assert json.loads(typed(project, "lockstep", "status", "--json")[1])["pending"] == ["c"]
    alembic(project, "upgrade", "head")
    assert lockstep(project, "status")[1][0] == "at c"
    assert "pending" not in "".join(lockstep(project, "status")[1])
