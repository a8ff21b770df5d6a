"""A database at several heads is compared with what their branches build together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_line import made, revision
from databases import database18
from snapshot_project import alembic, lockstep

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    """A table and two branches: one adds to it, the other takes from it and makes a type, a table, a view."""
    made(tmp_path, cluster18.url(database, "psycopg"))
    revision(tmp_path, "a", "op.execute('CREATE TABLE posts (id int PRIMARY KEY, old text)')")
    revision(tmp_path, "b1", "op.execute('ALTER TABLE posts ADD title text')", "a")
    revision(tmp_path, "b2", "op.execute('CREATE INDEX by_title ON posts (title)')", "b1")
    takes = (
        "ALTER TABLE posts DROP old; CREATE TYPE mood AS ENUM ('good'); CREATE TABLE tags (mood mood); "
        "CREATE VIEW v AS TABLE tags"
    )
    revision(tmp_path, "c", f"op.execute({takes!r})", "a")
    return tmp_path


def applied(project: Path) -> None:
    assert lockstep(project, "snapshot")[::2] == (0, "")
    alembic(project, "upgrade", "heads")


def test_what_both_branches_change_is_expected(project: Path) -> None:
    applied(project)
    assert lockstep(project, "verify")[:2] == (0, ["the database is what revision b2, c says"])


@pytest.mark.one_in(3)
def test_so_it_is_with_a_third_head_with_a_base_of_its_own_and_one_after_a_merge(project: Path) -> None:
    revision(project, "m", "op.execute('CREATE INDEX by_mood ON tags (mood)')", "b2")
    merge = project / "migrations/versions/m.py"
    merge.write_text(merge.read_text().replace("down_revision = 'b2'", "down_revision = ('b2', 'c')"))
    revision(project, "d", "op.execute('CREATE TABLE others (id int)')", "c")
    revision(project, "e", "op.execute('CREATE TABLE alone (id int)')")
    applied(project)
    assert lockstep(project, "verify")[:2] == (0, ["the database is what revision d, e, m says"])


def test_what_was_changed_by_hand_is_found(project: Path, cluster18: Cluster, database: str) -> None:
    applied(project)
    with cluster18.connect(database) as connection:
        connection.execute("DROP INDEX by_title; DROP VIEW v; ALTER TABLE posts ADD old text")
    status, lines, _ = lockstep(project, "verify", "--json")
    told = json.loads("\n".join(lines))
    assert (status, told["revision"]) == (1, "b2, c")
    assert [(one["object"], one["part"]) for one in told["differences"]] == [
        ("table public.posts", "column old"), ("table public.posts", "index by_title"), ("view public.v", ""),
    ]  # fmt: skip


@pytest.mark.one_in(3)
def test_where_both_change_the_same_it_is_said_which_and_what_to_do(project: Path) -> None:
    revision(project, "c", "op.execute('ALTER TABLE posts ALTER old TYPE varchar(9)')", "a")
    revision(project, "b2", "op.execute('ALTER TABLE posts DROP old')", "b1")
    assert lockstep(project, "snapshot")[::2] == (0, "")
    alembic(project, "upgrade", "c")
    alembic(project, "upgrade", "b2")
    assert lockstep(project, "verify") == (
        2, [], "lockstep: the database is at several revisions, of which b2 and c both change table "
        "public.posts: column old: `alembic merge heads`, then `alembic upgrade head`",
    )  # fmt: skip
