"""``lockstep doctor``: for each symptom a project, what plain alembic says there, the doctor, the cure."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from command_line import typed
from databases import database18
from ill_project import CREATES_POSTS, Ill

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

pytestmark = pytest.mark.one_in(3)

database = database18()


@pytest.fixture
def ill(tmp_path: Path, cluster18: Cluster, database: str) -> Ill:
    """The project, which nothing ails yet."""
    return Ill(tmp_path, cluster18, database)


def test_nothing_is_found_in_a_project_that_is_well(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS, "op.drop_table('posts')")
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}
    assert typed(ill.folder, "lockstep", "doctor")[:2] == (0, "nothing found\n")


@pytest.mark.parametrize("applied", ["r1", "r2", "r3"])
def test_a_revision_that_python_cannot_read_is_that_and_nothing_else(applied: str, ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS, "op.drop_table('posts')")
    ill.revision("r2", "op.execute('SELECT 1')", down="r1")
    ill.revision("r3", "op.execute('SELECT 1')", down="r2")
    ill.alembic("upgrade", applied)
    ill.edit("migrations/versions/r2.py", "def upgrade", "def def upgrade")
    errors = ill.fails("upgrade", "head")
    said = ill.only("syntax-error", errors)
    assert said.what == (
        "migrations/versions/r2.py, line 12: invalid syntax; no revision can be run before that is mended"
    )
    assert said.cure == "python -m py_compile migrations/versions/r2.py"
    ill.edit("migrations/versions/r2.py", "def def upgrade", "def upgrade")
    assert "syntax-error" not in ill.doctor()


# models


def test_models_that_nobody_imports(ill: Ill) -> None:
    ill.edit("migrations/env.py", "from app.models import Base", "from app.database import Base")
    ill.alembic("revision", "--autogenerate", "-m", "empty", "--rev-id", "r1")
    (generated,) = (ill.folder / "migrations" / "versions").glob("*.py")
    assert "create_table" not in generated.read_text()
    generated.unlink()
    said = ill.only("empty-autogenerate")
    assert "Post" in said.what
    assert said.cure == "import app.models"
    assert said.where == "in migrations/env.py, before target_metadata"
    ill.edit("migrations/env.py", "target_metadata = Base", f"{said.cure}\n\ntarget_metadata = Base")
    ill.alembic("revision", "--autogenerate", "-m", "posts", "--rev-id", "r1")
    (generated,) = (ill.folder / "migrations" / "versions").glob("*.py")
    assert "op.create_table('posts'" in generated.read_text()
    assert "empty-autogenerate" not in ill.doctor()


def test_no_target_metadata(ill: Ill) -> None:
    ill.edit(
        "migrations/env.py",
        "from app.models import Base\n\ntarget_metadata = Base.metadata",
        "target_metadata = None",
    )
    errors = ill.fails("revision", "--autogenerate", "-m", "posts")
    assert "does not provide a MetaData object" in errors
    said = ill.only("empty-autogenerate", errors)
    ill.edit("migrations/env.py", "target_metadata = None", said.cure)
    ill.alembic("revision", "--autogenerate", "-m", "posts", "--rev-id", "r1")
    assert "not-up-to-date" in ill.doctor()
    assert "empty-autogenerate" not in ill.doctor()


def test_a_rename_that_autogenerate_takes_for_a_drop_and_an_add(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, 'kept')")
    ill.edit(
        "app/models.py", "title = sa.Column(sa.String, nullable=False)", "headline = sa.Column(sa.String)"
    )
    assert (
        ill.only("rename-as-drop-and-add").cure
        == 'op.alter_column("posts", "title", new_column_name="headline")'
    )
    ill.alembic("revision", "--autogenerate", "-m", "rename", "--rev-id", "r2")
    said = ill.only("rename-as-drop-and-add")
    path = "migrations/versions/r2_rename.py"
    text = (ill.folder / path).read_text()
    drop = next(n for n in text.splitlines() if "op.drop_column('posts', 'title')" in n)
    ill.line(path, said.where, said.cure)
    ill.edit(path, drop, "")
    ill.alembic("upgrade", "head")
    assert ill.sql("SELECT headline FROM posts") == [("kept",)]
    assert "rename-as-drop-and-add" not in ill.doctor()


def test_a_default_of_python_that_the_database_does_not_know(ill: Ill) -> None:
    ill.revision(
        "r1",
        CREATES_POSTS.replace("    )", '    sa.Column("published", sa.Boolean(), nullable=False),\n    )'),
    )
    ill.alembic("upgrade", "head")
    ill.edit(
        "app/models.py",
        "title = ",
        "published = sa.Column(sa.Boolean, default=True, nullable=False)\n    title = ",
    )
    with pytest.raises(Exception, match='null value in column "published"'):
        ill.sql("INSERT INTO posts (id, title) VALUES (1, 'x')")
    said = ill.only("python-default")
    assert said.cure == 'op.alter_column("posts", "published", server_default=sa.true())'
    ill.revision("r2", said.cure, down="r1")
    ill.edit("app/models.py", "default=True", "default=True, server_default=sa.true()")
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts (id, title) VALUES (1, 'x')")
    assert ill.doctor() == {}


# the chain


def test_a_database_that_is_not_up_to_date(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    errors = ill.fails("revision", "--autogenerate", "-m", "more")
    assert "Target database is not up to date" in errors
    said = ill.only("not-up-to-date", errors)
    assert said.cure == "alembic upgrade head"
    ill.typed(said.cure)
    ill.alembic("revision", "--autogenerate", "-m", "more")


def test_a_revision_that_no_file_is_of(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    (ill.folder / ill.revision("gone", "op.execute('SELECT 1')", down="r1")).rename(ill.folder / "gone")
    ill.alembic("upgrade", "r1")
    ill.sql("UPDATE alembic_version SET version_num = 'gone'")
    errors = ill.fails("upgrade", "head")
    assert "Can't locate revision identified by 'gone'" in errors
    said = ill.only("cannot-locate-revision", errors)
    assert said.cure == "alembic stamp --purge r1"
    ill.typed(said.cure)
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_a_revision_whose_file_is_on_another_branch_of_git(ill: Ill) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=ill.folder,
            check=True,
            capture_output=True,
        )

    ill.revision("r1", CREATES_POSTS)
    path = ill.revision("r2", "op.execute('SELECT 1')", down="r1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "two")
    ill.alembic("upgrade", "head")
    git("rm", "-q", path)
    git("commit", "-qm", "one")
    assert "Can't locate" in ill.fails("current")
    said = ill.only("cannot-locate-revision")
    assert said.cure.startswith("git checkout ")
    git(*said.cure.replace('"', "").split()[1:])
    assert "cannot-locate-revision" not in ill.doctor()
    ill.alembic("downgrade", "r1")


def test_two_heads(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    for name in ("r2", "r3"):
        ill.revision(name, "pass", down="r1")
    errors = ill.fails("upgrade", "head")
    assert "Multiple head revisions" in errors
    said = ill.only("multiple-heads", errors)
    assert "r2, r3" in said.what
    ill.typed(said.cure)
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_tables_that_create_all_has_made(ill: Ill) -> None:
    ill.write(
        "app/main.py",
        "from app.models import Base\n\n\ndef start(engine):\n    Base.metadata.create_all(engine)\n",
    )
    ill.revision("r1", CREATES_POSTS)
    ill.sql("CREATE TABLE posts (id serial PRIMARY KEY, title varchar NOT NULL)")
    errors = ill.fails("upgrade", "head")
    assert 'relation "posts" already exists' in errors
    said = ill.only("relation-already-exists", errors)
    assert "made by create_all() in app/main.py, line 5" in said.what
    assert said.cure == "alembic stamp r1"
    ill.typed(said.cure)
    ill.alembic("upgrade", "head")
    ill.alembic("check")


# revision files


@pytest.mark.parametrize("kind", ["sqlmodel", "own"])
def test_a_generated_file_that_does_not_import_what_it_uses(ill: Ill, kind: str) -> None:
    if kind == "own":
        ill.write(
            "app/types.py",
            "import sqlalchemy as sa\n\n\nclass Money(sa.types.TypeDecorator):\n"
            "    impl = sa.Integer\n    cache_ok = True\n",
        )
        column = "price = sa.Column(Money)"
        ill.edit("app/models.py", "from app.database", "from app.types import Money\nfrom app.database")
        ill.edit("app/models.py", "title = ", f"{column}\n    title = ")
    else:
        ill.write(
            "app/models.py",
            "from sqlmodel import Field, SQLModel\n\n\nclass Post(SQLModel, table=True):\n"
            "    id: int | None = Field(primary_key=True)\n    title: str\n",
        )
        ill.edit(
            "migrations/env.py",
            "from app.models import Base",
            "import app.models\nfrom sqlmodel import SQLModel as Base",
        )
    ill.alembic("revision", "--autogenerate", "-m", "posts", "--rev-id", "r1")
    errors = ill.fails("upgrade", "head")
    assert "NameError: name" in errors
    said = ill.only("name-error", errors)
    assert said.cure == ("import app.types" if kind == "own" else "import sqlmodel.sql.sqltypes")
    ill.edit(
        "migrations/versions/r1_posts.py", "from alembic import op", f"from alembic import op\n{said.cure}"
    )
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_concurrently_in_a_transaction(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    path = ill.revision(
        "r2", "op.create_index('posts_title', 'posts', ['title'], postgresql_concurrently=True)", down="r1"
    )
    errors = ill.fails("upgrade", "head")
    assert "CREATE INDEX CONCURRENTLY cannot run inside a transaction block" in errors
    said = ill.only("concurrently-in-transaction", errors)
    ill.line(path, said.where, said.cure)
    ill.alembic("upgrade", "head")
    assert "concurrently-in-transaction" not in ill.doctor()


MOODS = "op.create_table('moods', sa.Column('mood', sa.Enum('glad', 'sad', name='mood')))"


def test_a_type_that_a_downgrade_left(ill: Ill) -> None:
    ill.revision("r1", MOODS, "op.drop_table('moods')")
    ill.alembic("upgrade", "head")
    ill.alembic("downgrade", "base")
    errors = ill.fails("upgrade", "head")
    assert 'type "mood" already exists' in errors
    said = ill.only("type-already-exists", errors)
    assert said.where == "in psql"
    ill.sql(said.cure)
    ill.alembic("upgrade", "head")


def test_a_type_that_two_revisions_create(ill: Ill) -> None:
    ill.revision("r1", MOODS)
    ill.alembic("upgrade", "head")
    path = ill.revision("r2", MOODS.replace("'moods'", "'days'"), down="r1")
    assert 'type "mood" already exists' in ill.fails("upgrade", "head")
    said = ill.only("type-already-exists")
    ill.edit(path, "sa.Enum('glad', 'sad', name='mood')", said.cure)
    ill.edit(path, "from alembic", "from sqlalchemy.dialects import postgresql\nfrom alembic")
    ill.alembic("upgrade", "head")
    assert "type-already-exists" not in ill.doctor()


# rows


def test_a_not_null_column_without_a_default_on_a_table_with_rows(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, 'x')")
    path = ill.revision(
        "r2", "op.add_column('posts', sa.Column('content', sa.String(), nullable=False))", down="r1"
    )
    errors = ill.fails("upgrade", "head")
    assert 'column "content" of relation "posts" contains null values' in errors
    said = ill.only("nulls-under-not-null", errors)
    assert said == ill.only("nulls-under-not-null")
    ill.edit(path, "nullable=False", f"nullable=False, {said.cure}")
    ill.alembic("upgrade", "head")
    assert ill.sql("SELECT content FROM posts") == [("",)]


def test_a_not_null_key_of_others_on_a_table_with_rows(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, 'x')")
    path = ill.revision(
        "r2",
        "op.add_column('posts', sa.Column('above', sa.Integer(), sa.ForeignKey('posts.id'), nullable=False))",
        down="r1",
    )
    said = ill.only("nulls-under-not-null", ill.fails("upgrade", "head"))
    ill.line(path, said.where, said.cure.replace("…", "id"))
    ill.alembic("upgrade", "head")
    assert ill.sql("SELECT above FROM posts") == [(1,)]


def test_not_null_set_on_a_column_that_has_nulls(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS.replace("nullable=False", "nullable=True"))
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, NULL)")
    change = "op.alter_column('posts', 'title', nullable=False)"
    path = ill.revision("r2", change, down="r1")
    said = ill.only("nulls-under-not-null", ill.fails("upgrade", "head"))
    assert said.what.startswith("1 rows of posts have no title")
    ill.line(path, said.where, f"{said.cure.replace('…', repr('none'))}\n{change}")
    ill.alembic("upgrade", "head")


def test_a_migration_that_hangs(ill: Ill) -> None:
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    ill.revision("r2", "op.add_column('posts', sa.Column('content', sa.String()))", down="r1")
    with (
        ill.cluster.connect(ill.database, autocommit=False) as holder,
        ill.cluster.connect(ill.database) as waiter,
    ):
        pid = (
            holder.execute("SELECT pg_backend_pid() FROM posts").fetchall()
            or holder.execute("SELECT pg_backend_pid()").fetchall()
        )
        waits = waiter.pgconn
        waits.send_query(b"ALTER TABLE posts ADD COLUMN more text")
        with ill.cluster.connect(ill.database) as watch:
            while not watch.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                pass
        said = ill.only("it-hangs")
        assert f"session {pid[0][0]} of postgres holds, which sits in an open transaction" in said.what
        assert "waits for a lock on posts" in said.what
        ill.sql(said.cure)
        while waits.get_result():
            pass
        ill.alembic("upgrade", "head")
        holder.close()
    assert "it-hangs" not in ill.doctor()
