"""``lockstep check``: each revision's way down and up again, and what is asked of the new ones."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from command_line import revision
from databases import database18
from snapshot_project import PLAIN, env, lockstep, three_revisions

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()

IN_ORDER = "one head, its snapshots, and each revision's way down and up again are in order"
UNKNOWN = "which revisions are new is not known (--since REVISION or a state of git): no plan"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, cluster18: Cluster) -> Path:
    """The snapshots of the three revisions."""
    folder = three_revisions(tmp_path_factory.mktemp("project"), cluster18.url("postgres", "psycopg"))
    assert lockstep(folder, "snapshot")[0] == 0
    return folder / "migrations" / "snapshots"


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str, files: Path) -> Path:
    folder = three_revisions(tmp_path, cluster18.url(database, "psycopg"))
    shutil.copytree(files, folder / "migrations" / "snapshots")
    return folder


def check(project: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines, but for those about snapshots."""
    status, lines, errors = lockstep(project, "check", *arguments)
    return status, [line for line in lines if "/snapshots/" not in line] or [errors]


def test_a_project_in_order_passes(project: Path) -> None:
    assert check(project) == (0, [UNKNOWN, IN_ORDER])


@pytest.mark.one_in(3)
def test_several_heads_and_their_merge_are_taken_down_and_up_again(project: Path) -> None:
    tags = "op.create_table('tags', sa.Column('id', sa.Integer()))"
    revision(project, "d", tags, "a", "op.drop_table('tags')")
    assert lockstep(project, "snapshot")[0] == 0
    assert check(project) == (1, ["2 heads (c, d): `lockstep rebase`, or `alembic merge heads`", UNKNOWN])
    revision(project, "m", "op.create_index('tags_id', 'tags', ['id'])", None, "op.drop_index('tags_id')")
    merge = project / "migrations/versions/m.py"
    merge.write_text(merge.read_text().replace("down_revision = None", "down_revision = ('c', 'd')"))
    assert lockstep(project, "snapshot")[0] == 0
    assert check(project) == (0, [UNKNOWN, IN_ORDER])


@pytest.mark.parametrize(
    ("downgrade", "says"),
    [
        ("op.drop_column('posts', 'title')", None),
        ("pass", "revision b is irreversible: its downgrade leaves all as it is"),
        ("raise NotImplementedError('no way back')",
         "revision b is irreversible: its downgrade raises NotImplementedError"),
        ("op.drop_column('posts', 'nothing')", "revision b: downgrading an empty database fails at"),
        ("op.alter_column('posts', 'title', new_column_name='old')",
         "revision b, after its downgrade: table public.posts: column old is not expected: text"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("env_py", ["adopted", "plain"])
@pytest.mark.one_in(3)
def test_the_revision_whose_way_back_is_none_is_named(
    downgrade: str, says: str | None, env_py: str, project: Path, cluster18: Cluster, database: str
) -> None:
    if env_py == "plain":
        env(project, PLAIN, cluster18, database)
    revision(project, "b", "op.add_column('posts', sa.Column('title', sa.Text()))", "a", downgrade)
    status, lines = check(project)
    assert status == (0 if says is None else 1)
    assert all(line.startswith("revision b") for line in lines if line not in {UNKNOWN, IN_ORDER}), lines
    if says is not None:
        assert lines[0].startswith(says)
        allowed = [UNKNOWN, "revision b is irreversible, as is allowed", IN_ORDER]
        assert check(project, "--irreversible", "b") == (0, allowed)
        ini = project / "alembic.ini"
        ini.write_text(ini.read_text() + "lockstep_irreversible = b\n")
        assert check(project) == (0, allowed)


def test_up_again_that_ends_otherwise_or_fails_is_named(project: Path) -> None:
    twice = 'op.execute("CREATE TABLE s AS SELECT 1 AS n")'
    revision(project, "c", f"op.create_index('posts_title', 'posts', ['title']); {twice}", "b",
             "op.drop_index('posts_title', 'posts'); op.rename_table('s', 'kept')")  # fmt: skip
    revision(project, "d", "op.execute('CREATE SCHEMA IF NOT EXISTS d')", "c", "op.execute('DROP SCHEMA d')")
    status, lines = check(project)
    assert status == 1
    assert lines == [
        "revision c, after its downgrade: table public.kept is not expected: n",
        "revision c, after down and up again: table public.kept is not expected: n",
        UNKNOWN,
    ]


def test_a_name_that_is_no_revisions_is_one_line(project: Path) -> None:
    said = "lockstep: x, which is allowed to be irreversible, is no revision"
    assert check(project, "--irreversible", "x") == (2, [said])
    assert check(project, "--since", "x")[1][0].startswith("lockstep: --since x is no revision, and nothing")
    assert "there is holds-lock, locks-rows" in check(project, "--allow", "x")[1][0]


@pytest.mark.one_in(3)
def test_the_new_revisions_are_planned_as_if_each_table_was_large(
    project: Path, cluster18: Cluster, database: str
) -> None:
    new = ["new since b: c", IN_ORDER]
    assert check(project, "--since", "b", "--no-squawk") == (0, new)
    env(project, PLAIN, cluster18, database)
    says = "revision c: scans-under-lock: writers of posts wait for as long as it takes to read"
    status, lines = check(project, "--since", "b", "--no-squawk")
    assert (status, lines[0].startswith(says)) == (1, True), lines
    assert check(project, "--since", "b", "--no-squawk", "--allow", "scans-under-lock") == (0, new)
    assert check(project, "--since", "c") == (0, ["no revision is new since c", IN_ORDER])
    assert check(project, "--since", "base", "--no-squawk")[1][0] == "new since base: a, b, c"


def git(project: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@y.z", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=project, check=True, capture_output=True)


@pytest.mark.one_in(3)
def test_what_git_does_not_have_is_new(project: Path) -> None:
    versions = project / "migrations" / "versions"
    c = (versions / "c.py").read_text()
    (versions / "c.py").unlink()
    for arguments in (["init"], ["add", "."], ["commit", "-m", "two"], ["branch", "release"]):
        git(project, *arguments)
    (versions / "c.py").write_text(c)
    assert check(project, "--since", "release", "--no-squawk") == (0, ["new since release: c", IN_ORDER])
    assert check(project, "--no-squawk") == (0, [UNKNOWN, IN_ORDER])
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(project, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    assert check(project, "--no-squawk") == (0, ["new since origin/HEAD: c", IN_ORDER])


@pytest.mark.one_in(3)
def test_squawk_is_asked_of_what_is_new_but_for_what_lockstep_makes_moot(
    project: Path, cluster18: Cluster, database: str
) -> None:
    revision(project, "c", "op.create_index('posts_title', 'posts', ['title'])\n"
             "    op.add_column('posts', sa.Column('code', sa.CHAR(3)))", "b",
             "op.drop_column('posts', 'code'); op.drop_index('posts_title', 'posts')")  # fmt: skip
    status, lines = check(project, "--since", "b")
    assert status == 1
    assert [line.partition(": Us")[0] for line in lines] == [
        "revision c: squawk: ban-char-field", "new since b: c",
    ]  # fmt: skip
    assert "(ALTER TABLE posts ADD COLUMN code CHAR(3))" in lines[0]
    (project / ".squawk.toml").write_text('excluded_rules = ["ban-char-field"]\n')
    assert lockstep(project, "snapshot")[0] == 0
    assert check(project, "--since", "b") == (0, ["new since b: c", IN_ORDER])
    env(project, PLAIN, cluster18, database)
    lines = check(project, "--since", "b", "--allow", "scans-under-lock")[1]
    assert any(line.startswith("revision c: squawk: require-concurrent-index-creation") for line in lines)


@pytest.mark.one_in(2)
def test_a_file_that_was_moved_or_renamed_is_not_new(project: Path) -> None:
    versions = project / "migrations" / "versions"
    c = (versions / "c.py").read_text()
    (versions / "c.py").unlink()
    other = project / "another" / "versions"  # a project of the same repository, and of the same names
    other.mkdir(parents=True)
    (other / "c.py").write_text(c)
    for arguments in (["init"], ["add", "."], ["commit", "-m", "two"]):
        git(project, *arguments)
    (versions / "c.py").write_text(c)
    (versions / "b.py").rename(versions / "2026_11_28_b.py")
    assert check(project, "--since", "HEAD", "--no-squawk") == (0, ["new since HEAD: c", IN_ORDER])
    (project / "migrations").rename(project / "elsewhere")
    ini = project / "alembic.ini"
    ini.write_text(ini.read_text().replace("/migrations", "/elsewhere"))
    assert check(project, "--since", "HEAD", "--no-squawk") == (0, ["new since HEAD: c", IN_ORDER])
