"""``lockstep snapshot``, ``verify``, ``adopt``, ``show``, ``diff`` and ``check``, as somebody types them."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from command_line import revision, typed
from databases import database18
from lockstep.commands.project import Project
from lockstep.commands.sides import live
from lockstep.snapshot.scratch import PREFIX
from snapshot_project import ASYNC, CREATOR, PLAIN, alembic, env, lockstep, snapshots, three_revisions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.fixture
def bare(tmp_path: Path, cluster18: Cluster, database: str) -> Iterator[Path]:
    """Three revisions that have not run and have no snapshots."""
    yield three_revisions(tmp_path, cluster18.url(database, "psycopg"))
    with cluster18.connect() as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        assert left.fetchall() == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, cluster18: Cluster) -> Path:
    """The snapshots of these revisions."""
    folder = three_revisions(tmp_path_factory.mktemp("project"), cluster18.url("postgres", "psycopg"))
    assert lockstep(folder, "snapshot")[0] == 0
    return folder / "migrations" / "snapshots"


@pytest.fixture
def project(bare: Path, files: Path) -> Path:
    """Three revisions that have not run, with their snapshots."""
    shutil.copytree(files, bare / "migrations" / "snapshots")
    return bare


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("text", "driver"), [(None, ""), (PLAIN, "psycopg2"), (ASYNC, "asyncpg")])
def test_each_revision_has_a_file_of_its_schema_and_the_database_is_left_alone(
    text: str | None, driver: str, bare: Path, cluster18: Cluster, database: str
) -> None:
    if text:
        env(bare, text, cluster18, database, driver)
    assert lockstep(bare, "snapshot")[:2] == (
        0, [f"wrote migrations/snapshots/{name}.txt" for name in ("a", "b", "c")]
    )  # fmt: skip
    assert "    column title  text" in (bare / "migrations/snapshots/b.txt").read_text().splitlines()
    assert "column title" not in (bare / "migrations/snapshots/a.txt").read_text()
    assert lockstep(bare, "snapshot")[:2] == (0, ["3 snapshots are as the revisions are"])
    with cluster18.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == []


@pytest.mark.one_in(2)
def test_a_file_that_is_missing_stale_or_of_no_revision_is_told_and_mended(project: Path) -> None:
    folder = project / "migrations" / "snapshots"
    (folder / "a.txt").rename(folder / "x.txt")
    revision(project, "c", "op.create_index('other', 'posts', ['title'])", "b", "op.drop_index('other')")
    wrong = ["a.txt is missing", "c.txt is stale", "x.txt is of no revision"]
    assert lockstep(project, "snapshot", "--check")[:2] == (
        1, [f"migrations/snapshots/{one}" for one in wrong]
    )  # fmt: skip
    assert snapshots(project) == ["b.txt", "c.txt", "x.txt"]
    assert lockstep(project, "snapshot")[0] == 0
    assert snapshots(project) == ["a.txt", "b.txt", "c.txt"]
    assert lockstep(project, "snapshot", "--check")[0] == 0


def test_the_file_of_a_branch_holds_that_branch_alone(project: Path) -> None:
    revision(
        project, "d", "op.create_table('tags', sa.Column('id', sa.Integer()))", "a", "op.drop_table('tags')"
    )
    assert lockstep(project, "snapshot")[0] == 0
    assert "title" not in (project / "migrations/snapshots/d.txt").read_text()
    assert "tags" not in (project / "migrations/snapshots/c.txt").read_text()


def test_a_database_that_is_as_its_revision_says_verifies(project: Path) -> None:
    alembic(project, "upgrade", "b")
    assert lockstep(project, "verify")[:2] == (0, ["the database is what revision b says"])


def test_what_was_changed_by_hand_is_a_line_with_the_statement_that_undoes_it(
    project: Path, cluster18: Cluster, database: str
) -> None:
    alembic(project, "upgrade", "head")
    with cluster18.connect(database) as connection:
        connection.execute("DROP INDEX posts_title")
    status, lines, _ = lockstep(project, "verify")
    made_so = "CREATE INDEX posts_title ON public.posts USING btree (title)"
    assert status == 1
    assert lines[:2] == [
        f"table public.posts: index posts_title is missing: {made_so}", f"    {made_so}"
    ]  # fmt: skip
    (one,) = json.loads("\n".join(lockstep(project, "verify", "--json")[1]))["differences"]
    assert one == {
        "object": "table public.posts", "part": "index posts_title", "expected": made_so, "found": None,
        "statement": made_so,
    }  # fmt: skip
    assert lockstep(project, "verify", "--ignore", "table public.posts: index *")[0] == 0
    ini = project / "alembic.ini"
    ini.write_text(ini.read_text() + "lockstep_ignore = table public.x, table public.posts*\n")
    assert lockstep(project, "verify")[0] == 0


def test_what_the_models_have_otherwise_is_told(project: Path, cluster18: Cluster, database: str) -> None:
    models = (
        "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"
        "sa.Table('posts', metadata, sa.Column('id', sa.Integer(), primary_key=True), "
        "sa.Column('title', sa.Text(), nullable=False), sa.Column('more', sa.Text()))\n"
    )
    env(project, models + PLAIN.replace("None", "metadata"), cluster18, database)
    alembic(project, "upgrade", "head")
    status, lines, _ = lockstep(project, "verify")
    assert status == 1
    assert sorted(lines[:3]) == [
        "models: add column posts.more", "models: drop index posts.posts_title",
        "models: posts.title has another nullable",
    ]  # fmt: skip
    assert lockstep(project, "verify", "--no-models")[0] == 0


def test_verify_asks_as_much_of_many_tables_as_of_few(
    project: Path, cluster18: Cluster, database: str
) -> None:
    alembic(project, "upgrade", "head")
    file = project / "migrations" / "env.py"
    sent: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    def told(tables: int) -> list[str] | None:
        models = "".join(
            f"sa.Table('t{n}', metadata, sa.Column('id', sa.Integer(), primary_key=True), "
            "sa.Column('name', sa.Text(), index=True))\n"
            for n in range(tables)
        )
        head = "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"
        text = PLAIN.replace('"URL"', '"URL", poolclass=sa.NullPool').replace("None", "metadata")
        file.write_text(head + models + text.replace("URL", cluster18.url(database, "psycopg")))
        with cluster18.connect(database) as connection:
            connection.execute("DROP TABLE IF EXISTS posts")
            for n in range(tables):
                connection.execute(f"CREATE TABLE IF NOT EXISTS t{n} (id serial PRIMARY KEY, name text)")
                connection.execute(f"CREATE INDEX IF NOT EXISTS ix_t{n}_name ON t{n} (name)")
        sent.clear()
        sa.event.listen(sa.Engine, "before_cursor_execute", count)
        try:
            return live(Project([str(project / "alembic.ini")], "alembic"), [], models=True).models
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", count)

    assert told(2) == []
    few = len(sent)
    assert told(9) == []
    assert len(sent) == few, sent


def test_a_revision_that_is_half_done_is_told(project: Path) -> None:
    revision(
        project, "d", "op.create_table('more', sa.Column('id', sa.Integer()))\n"
        "    op.get_bind().commit()\n    op.execute('SELECT 1 / 0')", "c", "op.drop_table('more')",
    )  # fmt: skip
    alembic(project, "upgrade", "c")
    assert typed(project, "alembic", "upgrade", "d")[0] != 0
    status, lines, _ = lockstep(project, "verify", "--ignore", "*")
    assert (status, lines) == (1, ["the upgrade of revision d is half done: see `lockstep status`"])


def test_a_schema_without_a_version_is_found_and_stamped(
    project: Path, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE TABLE posts (id serial PRIMARY KEY, title text)")
    assert lockstep(project, "adopt", "--yes")[:2] == (0, ["the database is revision b"])
    assert lockstep(project, "verify")[:2] == (0, ["the database is what revision b says"])
    assert lockstep(project, "adopt")[1] == ["the database is revision b", "and stamped with it"]


def test_a_schema_that_is_no_revisions_is_told_apart_from_the_nearest(
    project: Path, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE TABLE posts (id serial PRIMARY KEY, title text, more text)")
    status, lines, _ = lockstep(project, "adopt", "--yes")
    assert status == 1
    assert lines[:2] == [
        "no revision's snapshot is equal; revision b is the nearest:",
        "table public.posts: column more is not expected: text",
    ]
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,)


def test_a_table_is_shown_as_it_is_and_as_it_was(project: Path) -> None:
    alembic(project, "upgrade", "head")
    now = lockstep(project, "show", "posts")
    assert now[0] == 0
    assert now[1][0] == "table public.posts"
    assert "    column title  text" in now[1]
    then = lockstep(project, "show", "public.posts", "--at", "a")[1]
    assert then[0] == "table public.posts"
    assert "    column title  text" not in then
    status, lines, said = lockstep(project, "show", "nothing")
    assert (status, lines, said) == (
        2, [], "lockstep: there is no nothing; `lockstep show` shows all that there is"
    )  # fmt: skip


def test_two_revisions_or_one_and_the_database_are_told_apart(project: Path) -> None:
    alembic(project, "upgrade", "a")
    assert lockstep(project, "diff", "a", "b")[:2] == (1, ["+ table public.posts: column title  text"])
    assert lockstep(project, "diff", "b")[:2] == (1, ["- table public.posts: column title  text"])
    assert lockstep(project, "diff", "a")[:2] == (0, [])
    status, _, said = lockstep(project, "diff", "nowhere")
    assert status == 2
    assert "nowhere" in said


@pytest.fixture
def read_only(cluster18: Cluster, database: str) -> Iterator[str]:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE ROLE looker LOGIN")
        connection.execute("ALTER ROLE looker SET default_transaction_read_only = on")
        connection.execute("GRANT pg_read_all_data TO looker")
    yield "looker"
    with cluster18.connect(database) as connection:
        connection.execute("DROP OWNED BY looker")
        connection.execute("DROP ROLE looker")


@pytest.mark.parametrize("text", [None, PLAIN])
def test_a_role_that_may_only_read_verifies_shows_and_compares(
    text: str | None, project: Path, cluster18: Cluster, database: str, request: pytest.FixtureRequest
) -> None:
    if text:
        env(project, text, cluster18, database)
    alembic(project, "upgrade", "head")
    role = request.getfixturevalue("read_only")
    file = project / "migrations" / "env.py"
    file.write_text(file.read_text().replace("postgres@", f"{role}@"))
    assert lockstep(project, "verify") == (0, ["the database is what revision c says"], "")
    assert lockstep(project, "adopt")[0] == lockstep(project, "diff", "c")[0] == 0
    assert lockstep(project, "show")[0] == 0


def _without_server(file: Path) -> None:
    nowhere = "postgresql://someone:secret@127.0.0.1:1/nowhere"
    file.write_text(re.sub(r"url='.*'", f"url='{nowhere}'", file.read_text()))


def _that_raises(file: Path) -> None:
    file.write_text("raise RuntimeError('no')\n" + file.read_text())


def _with_a_creator(file: Path) -> None:
    url = file.read_text().partition("url='")[2].partition("'")[0].replace("+psycopg", "")
    file.write_text(CREATOR.replace("DSN", url))


def _that_migrates_twice(file: Path) -> None:
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")


def _that_migrates_nothing(file: Path) -> None:
    file.write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_that_raises, "env.py, line 1: RuntimeError: no"),
        (_with_a_creator, "env.py connects in a way of its own (a creator)"),
        (_that_migrates_twice, "env.py migrates several databases or schemas"),
        (_that_migrates_nothing, "does not call context.run_migrations()"),
        (_without_server, "cannot connect to"),
    ],
)
def test_what_stands_in_the_way_is_one_line(spoil: Callable[[Path], None], said: str, bare: Path) -> None:
    spoil(bare / "migrations" / "env.py")
    status, lines, errors = lockstep(bare, "snapshot")
    assert (status, lines) == (2, [])
    assert said in errors
    assert "secret" not in errors
    assert len(errors.splitlines()) == 1
    assert snapshots(bare) == []


def test_a_revision_that_fails_is_named_and_leaves_no_database_behind(project: Path) -> None:
    revision(project, "d", "op.execute('SELECT 1 / 0')", "c")
    status, _, said = lockstep(project, "snapshot")
    assert status == 2
    assert "upgrading an empty database fails at revision d" in said
    assert "division by zero" in said


def test_another_server_may_be_named(project: Path, cluster18: Cluster, database: str) -> None:
    file = project / "migrations" / "env.py"
    file.write_text(file.read_text().replace("postgres@", "nobody@"))
    assert lockstep(project, "snapshot")[0] == 2
    assert lockstep(project, "snapshot", "--server", cluster18.url(database, "psycopg"))[0] == 0
    assert lockstep(project, "snapshot", "--server", "nonsense")[2] == (
        "lockstep: --server takes a URL, like postgresql://user@host/postgres, or embedded"
    )
