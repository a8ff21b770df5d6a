"""``lockstep rebase`` puts the second of two heads after the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import made, typed
from databases import database18

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()

FILE = '''"""A revision

Revision ID: {name}
Revises: {down}
"""
from alembic import op

revision: str = "{name}"
down_revision: str | None = {value}  # after which


def upgrade():
    op.execute("CREATE TABLE {name} (id integer)")


def downgrade():
    op.execute("DROP TABLE {name}")
'''


class Folder:
    """first ← ours ← ours2, and first ← theirs; the database is at theirs."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = made(folder, url)
        for name, down in {"first": "", "ours": "first", "ours2": "ours", "theirs": "first"}.items():
            self.write(name, f'"{down}"' if down else "None", down)

    def write(self, name: str, value: str, down: str) -> None:
        self.path(name).write_text(FILE.format(name=name, value=value, down=down))

    def path(self, name: str) -> Path:
        return next(self.folder.rglob("versions")) / f"{name}.py"

    def typed(self, *arguments: str) -> tuple[int, str]:
        status, output, errors = typed(self.folder, *arguments)
        assert "Traceback" not in errors
        return status, " ".join((output + errors).split())


@pytest.fixture
def folder(tmp_path: Path, cluster18: Cluster, database: str) -> Folder:
    return Folder(tmp_path, cluster18.url(database, "psycopg"))


def test_the_head_that_the_database_has_not_had_moves(folder: Folder) -> None:
    assert folder.typed("alembic", "upgrade", "theirs")[0] == 0
    status, said = folder.typed("alembic", "upgrade", "head")
    assert status != 0
    assert "`lockstep rebase` puts one of them after the other" in said
    before = folder.path("ours").read_text()
    status, said = folder.typed("lockstep", "rebase")
    assert status == 0
    assert said.startswith("ours is after theirs now:")
    after = folder.path("ours").read_text()
    assert after == before.replace('= "first"', "= 'theirs'").replace("Revises: first", "Revises: theirs")
    assert folder.typed("alembic", "upgrade", "head")[0] == 0
    assert folder.typed("alembic", "current", "--check-heads")[0] == 0


def test_which_one_moves_is_asked_where_the_database_had_neither(folder: Folder) -> None:
    status, said = folder.typed("lockstep", "rebase")
    assert status == 2
    assert "the database has had neither of ours2 and theirs: say which one to move" in said
    assert folder.typed("lockstep", "rebase", "theirs")[0] == 0
    assert "down_revision: str | None = 'ours2'  # after which" in folder.path("theirs").read_text()


def test_what_the_database_has_had_does_not_move(folder: Folder) -> None:
    folder.typed("alembic", "upgrade", "theirs")
    status, said = folder.typed("lockstep", "rebase", "theirs")
    assert status == 2
    assert "the database has had theirs, which would move: `lockstep rebase ours2` moves the other" in said
    folder.typed("alembic", "upgrade", "heads")
    assert "the database has had both" in folder.typed("lockstep", "rebase")[1]


def test_what_is_no_head_is_named(folder: Folder) -> None:
    status, said = folder.typed("lockstep", "rebase", "ours")
    assert (status, "ours is no head; the heads are ours2 and theirs" in said) == (2, True)
    assert folder.typed("lockstep", "rebase", "nonsense")[0] == 2


def test_one_head_is_enough(folder: Folder) -> None:
    folder.path("theirs").unlink()
    assert "there is one head, ours2: nothing to put after another" in folder.typed("lockstep", "rebase")[1]


def test_a_branch_with_a_merge_in_it_stays(folder: Folder) -> None:
    folder.write("side", '"first"', "first")
    folder.write("ours2", '("ours", "side")', "ours, side")
    status, said = folder.typed("lockstep", "rebase", "ours2")
    assert status == 2
    assert "`alembic merge heads`" in said


def test_the_doctor_offers_it_where_the_database_is_at_one_of_two_heads(folder: Folder) -> None:
    assert folder.typed("alembic", "upgrade", "theirs")[0] == 0
    status, said = folder.typed("lockstep", "doctor")
    assert status == 1
    assert "the other one can come after theirs, which the database has type: lockstep rebase" in said
    assert folder.typed("lockstep", "rebase")[0] == 0
    assert "multiple-heads" not in folder.typed("lockstep", "doctor")[1]
