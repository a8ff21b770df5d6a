"""``lockstep go``: the program that was rolled back takes the database down to what it knows."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from command_line import made, revision, typed
from databases import database18
from snapshot_project import PLAIN, alembic, env

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


Revision = tuple[str, str | tuple[str, str] | None, str, str]


class History(NamedTuple):
    """Revisions as (name, down, upgrade, downgrade); the first ``old`` of them are the older program's."""

    revisions: list[Revision]
    old: int
    ahead: str
    back: tuple[str, ...] = ()
    """What plain Alembic is told, in place of the older program's head, to come to where that one is."""
    rows: str = "INSERT INTO posts (id) SELECT n FROM generate_series(1, 50) n"


POSTS = (
    "a", None,
    "op.create_table('posts', sa.Column('id', sa.Integer(), primary_key=True))", "op.drop_table('posts')",
)  # fmt: skip
TITLE = (
    "b", "a",
    "op.add_column('posts', sa.Column('title', sa.Text(), server_default='x'))",
    "op.drop_column('posts', 'title')",
)  # fmt: skip
TEXT = "op.add_column('posts', sa.Column('{0}', sa.Text()))", "op.drop_column('posts', '{0}')"


def index(name: str, down: str | tuple[str, str], column: str) -> Revision:
    return (
        name, down,
        f"op.create_index('posts_{name}', 'posts', ['{column}'])", f"op.drop_index('posts_{name}', 'posts')",
    )  # fmt: skip


HISTORIES = {
    "a line": History(
        [POSTS, TITLE, index("c", "b", "title")], 1, "two revisions ahead of the files here: c, b"
    ),
    "merged branches": History(
        [
            POSTS,
            ("b", "a", TEXT[0].format("b"), TEXT[1].format("b")),
            ("c", "a", TEXT[0].format("c"), TEXT[1].format("c")),
            index("d", ("b", "c"), "c"),
        ],
        2,
        "two revisions ahead of the files here: d, c",
        ("b", "c@a"),
    ),
    "data and types": History(
        [
            POSTS,
            TITLE,
            (
                "c", "b",
                "op.execute(\"CREATE TYPE mood AS ENUM ('glad', 'sad')\")\n"
                "    op.execute('ALTER TABLE posts ADD mood mood')",
                "op.drop_column('posts', 'mood')\n    op.execute('DROP TYPE mood')",
            ),
            (
                "d", "c",
                "op.execute(\"UPDATE posts SET mood = 'glad' WHERE id > 25\")",
                "op.execute('UPDATE posts SET mood = NULL')",
            ),
            (
                "e", "d",
                "op.alter_column('posts', 'id', type_=sa.BigInteger())",
                "op.alter_column('posts', 'id', type_=sa.Integer())",
            ),
        ],
        2,
        "three revisions ahead of the files here: e, d, c",
    ),
}  # fmt: skip


def program(folder: Path, url: str, history: History, number: int) -> Path:
    """A program that has the first so many revisions."""
    folder.mkdir()
    made(folder, url)
    for name, down, up, back in history.revisions[:number]:
        revision(folder, name, up, "a" if down else None, back)
        path = folder / "migrations" / "versions" / f"{name}.py"
        path.write_text(path.read_text().replace("down_revision = 'a'", f"down_revision = {down!r}"))
    return folder


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", HISTORIES)
def test_the_new_program_goes_up_and_the_old_one_down(
    tmp_path: Path, cluster18: Cluster, database: str, name: str
) -> None:
    history = HISTORIES[name]
    head = history.revisions[history.old - 1][0]
    url = cluster18.url(database, "psycopg")
    new = program(tmp_path / "new", url, history, len(history.revisions))
    old = program(tmp_path / "old", url, history, history.old)
    alembic(new, "upgrade", head)
    with cluster18.connect(database) as connection:
        connection.execute(history.rows)
    assert typed(new, "lockstep", "go", "--to", "head")[0] == 0

    status, output, errors = typed(old, "alembic", "upgrade", "head")
    assert status != 0
    assert history.ahead in " ".join((output + errors).split())
    status, output, errors = typed(old, "lockstep", "go", "--to", "head")
    assert status == 0, errors
    assert [line.split()[1] for line in output.splitlines()] == [
        one[0] for one in history.revisions[: history.old - 1 : -1]
    ]
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]

    plain = cluster18.create_database()
    for folder in (old, new):
        env(folder, PLAIN, cluster18, plain)
    alembic(new, "upgrade", head)
    with cluster18.connect(plain) as connection:
        connection.execute(history.rows)
    alembic(new, "upgrade", "head")
    for target in history.back or (head,):
        alembic(new, "downgrade", target)
    assert cluster18.dump_schema(database) == cluster18.dump_schema(plain)
    with cluster18.connect(database) as one, cluster18.connect(plain) as other:
        read = "SELECT p::text FROM posts p ORDER BY id"
        assert len(one.execute(read).fetchall()) == 50
        assert one.execute(read).fetchall() == other.execute(read).fetchall()
    cluster18.drop_database(plain)


def test_go_chooses_the_direction(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    history = HISTORIES["a line"]
    project = program(tmp_path / "new", cluster18.url(database, "psycopg"), history, 3)
    for to, said in (
        ("b", "upgrade a\nupgrade b\n"), ("b", "the database is at b\n"), ("head", "upgrade c\n"),
        ("a", "downgrade c\ndowngrade b\n"), ("base", "downgrade a\n"),
    ):  # fmt: skip
        assert typed(project, "lockstep", "go", "--to", to)[:2] == (0, said)
    status, _, errors = typed(project, "lockstep", "go", "--to", "nowhere")
    assert status == 2
    assert errors.startswith("lockstep: Can't locate revision identified by 'nowhere': `alembic history`")


def test_go_leaves_other_branches_as_alembic_does(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    history = HISTORIES["merged branches"]
    project = program(tmp_path / "new", cluster18.url(database, "psycopg"), history, 3)
    for to, said in (
        ("b", "upgrade a\nupgrade b\n"),
        ("c", "upgrade c\n"),
        ("a", "downgrade b\ndowngrade c\n"),
    ):
        assert typed(project, "lockstep", "go", "--to", to)[:2] == (0, said)


def test_a_program_on_a_branch_of_its_own_leaves_the_newer_one_s(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    history = HISTORIES["merged branches"]
    url = cluster18.url(database, "psycopg")
    new, old = program(tmp_path / "new", url, history, 2), program(tmp_path / "old", url, history, 3)
    (old / "migrations" / "versions" / "b.py").unlink()
    alembic(new, "upgrade", "head")
    assert typed(old, "lockstep", "go", "--to", "head")[:2] == (0, "downgrade b\nupgrade c\n")


def test_a_source_that_was_not_kept_is_said_to_be_missing(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    history = HISTORIES["a line"]
    url = cluster18.url(database, "psycopg")
    new, old = program(tmp_path / "new", url, history, 3), program(tmp_path / "old", url, history, 1)
    path = new / "migrations" / "env.py"
    path.write_text(path.read_text().replace("lockstep.run(", "lockstep.run(keep_sources=False, "))
    alembic(new, "upgrade", "head")
    status, _, errors = typed(old, "lockstep", "go", "--to", "head")
    assert status == 2
    assert "revision c is neither here nor kept: `alembic downgrade` with the program that has it" in errors
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT count(source) FROM lockstep.applied").fetchone() == (0,)


def test_the_source_of_the_last_time_is_the_one_that_is_run(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    history = HISTORIES["a line"]
    url = cluster18.url(database, "psycopg")
    new, old = program(tmp_path / "new", url, history, 2), program(tmp_path / "old", url, history, 1)
    alembic(new, "upgrade", "head")
    alembic(new, "downgrade", "a")
    path = new / "migrations" / "versions" / "b.py"
    path.write_text(path.read_text().replace("'title'", "'headline'"))
    alembic(new, "upgrade", "head")
    shutil.rmtree(new)
    assert typed(old, "lockstep", "go", "--to", "head")[0] == 0
    with cluster18.connect(database) as connection:
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'posts'"
        )
        assert columns.fetchall() == [("id",)]


def test_the_doctor_says_so(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    history = HISTORIES["a line"]
    url = cluster18.url(database, "psycopg")
    new, old = program(tmp_path / "new", url, history, 2), program(tmp_path / "old", url, history, 1)
    alembic(new, "upgrade", "head")
    status, output, _ = typed(old, "lockstep", "doctor")
    assert status == 1
    assert "lockstep go --to head" in output
