"""What a revision sets for its session or its transaction lives as long as its author may believe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import SCHEMA
from lockstep import LockstepError
from lockstep.errors import CannotContinueError
from project import ADDS, Project, edit, stops
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18(SCHEMA)


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project at its first revision, each of whose operations is committed."""
    return at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )


def test_session_state_holds_when_another_process_goes_on(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.books (id integer)")
    stops(project, f"op.execute('SET search_path TO other')\n{ADDS}")
    edit(
        project, "r2", "raise RuntimeError('stopped')",
        "op.add_column('books', sa.Column('more', sa.Integer())); op.execute('RESET search_path')",
    )  # fmt: skip
    project.upgrade()
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT table_schema, column_name FROM information_schema.columns "
            "WHERE table_name = 'books' AND column_name IN ('pages', 'more') ORDER BY 2"
        ).fetchall()
    assert found == [("other", "more"), ("other", "pages")]


def test_a_limit_that_a_revision_sets_holds_after_a_step_that_has_none(project: Project) -> None:
    shown = "op.get_bind().execute(sa.text('SHOW statement_timeout')).scalar()"
    project.revision(
        f"op.execute('SET statement_timeout = 5000')\nop.create_index('books_price', 'books', ['price'])\n"
        f"assert {shown} == '5s', {shown}"
    )
    project.upgrade()


def test_set_local_holds_over_lockteps_own_commits(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.books (id integer)")
    project.revision(
        f"op.get_bind().execute(sa.text('SET LOCAL search_path TO other'))\n{ADDS}\n"
        "op.add_column('books', sa.Column('more', sa.Integer()))\n"
        "assert op.get_bind().execute(sa.text('SHOW search_path')).scalar() == 'other'"
    )
    project.upgrade()
    project.revision("assert op.get_bind().execute(sa.text('SHOW search_path')).scalar() != 'other'")
    project.upgrade()
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'other'"
        ).fetchone()
    assert found == (3,)


def test_a_temporary_table_of_a_session_that_is_gone_is_refused_with_the_way_back(
    project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"op.execute('CREATE TEMP TABLE t AS SELECT 1 AS a')\n{ADDS}")
    with pytest.raises(CannotContinueError, match=r"temporary table \(t\), and the session"):
        project.upgrade()
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before


#: The one stops at a commit of Lockstep's own, the other at none.
BOTH = pytest.mark.parametrize("short_way", [False, True], ids=["steps", "together"])


@pytest.mark.one_in(3)
@BOTH
@pytest.mark.parametrize(
    "made",
    [
        "op.execute('CREATE TEMP TABLE t (a int) ON COMMIT DROP')",
        'op.get_bind().execute(sa.text("CREATE TEMP TABLE t ON COMMIT DROP AS '
        "SELECT 1 AS a WHERE 'ON COMMIT DROP' = ''\"))",
        "op.create_table('t', sa.Column('a', sa.Integer()), prefixes=['TEMPORARY'], "
        "postgresql_on_commit='DROP')",
        "sa.Table('t', sa.MetaData(), sa.Column('a', sa.Integer()), prefixes=['TEMP'], "
        "postgresql_on_commit='DROP').create(op.get_bind())",
    ],
)
def test_a_table_on_commit_drop_is_there_until_the_author_commits(
    made: str,
    short_way: bool,  # noqa: FBT001
    project: Project,
) -> None:
    """Whatever Lockstep commits in between; the next revision may make another one of its name."""
    used = (
        "op.execute('INSERT INTO t VALUES (1)')\n"
        "assert op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar() == 1"
    )
    gone = "assert op.get_bind().execute(sa.text(\"SELECT to_regclass('pg_temp.t')\")).scalar() is None"
    for index in ("one", "two"):
        project.revision(
            f"{gone}\n{made}\nop.create_index('{index}', 'books', ['price'])\n{used}\n"
            f"op.drop_index('{index}', 'books')\nop.get_bind().commit()\n{gone}"
        )
    project.revision(f"{gone}\n{made}\n{ADDS}")
    project.revision(f"{gone}")
    project.upgrade(short_way=short_way)
    assert project.current() == "r5 (head)"


def test_rows_on_commit_delete_are_there_until_the_author_commits(project: Project) -> None:
    project.revision(
        "op.execute('CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS')\n"
        "op.execute('INSERT INTO t VALUES (1)')\n"
        f"{ADDS}\nassert op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar() == 1"
    )
    project.revision("assert op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar() == 0")
    project.upgrade()


@pytest.mark.parametrize(
    "made",
    [
        "op.create_table('t', sa.Column('a', sa.Integer()), prefixes=['TEMPORARY'])",
        "op.execute('CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)')",
        "op.execute('CREATE TEMP TABLE t (a int)')\nop.execute('INSERT INTO t VALUES (1)')\n"
        "op.get_bind().execute(sa.text('UPDATE t SET a = 2'))",
    ],
)
def test_a_temporary_table_of_an_operation_is_not_taken_for_one_that_lasts(
    made: str, project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"{made}\n{ADDS}")
    with pytest.raises(CannotContinueError, match=r"temporary table \(t\), and the session"):
        project.upgrade()
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before


@BOTH
def test_set_local_among_other_statements_holds_as_well(
    short_way: bool,  # noqa: FBT001
    project: Project,
    cluster18: Cluster,
    database: str,
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.books (id integer)")
    project.revision(
        "op.execute('SET LOCAL search_path TO other, public; ALTER TABLE books ADD COLUMN first integer')\n"
        f"{ADDS}\nop.add_column('books', sa.Column('more', sa.Integer()))\n"
        "assert op.get_bind().execute(sa.text('SHOW search_path')).scalar() == 'other, public'"
    )
    project.revision("assert 'other' not in op.get_bind().execute(sa.text('SHOW search_path')).scalar()")
    project.upgrade(short_way=short_way)
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'other'"
        ).fetchone()
    assert found == (4,)


def test_set_local_among_other_statements_holds_when_another_process_goes_on(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA other; CREATE TABLE other.books (id integer)")
    stops(
        project,
        "op.execute('SET LOCAL search_path TO other, public; ALTER TABLE books ADD COLUMN first integer')",
    )
    edit(project, "r2", "raise RuntimeError('stopped')", f"{ADDS}\n    {ADDS.replace('pages', 'more')}")
    project.upgrade()
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'other'"
        ).fetchone()
    assert found == (4,)


GRANTS = """
GRANT USAGE, CREATE ON SCHEMA lockstep, lockstep_archive TO author;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA lockstep TO author;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA lockstep TO author
"""


@pytest.fixture
def author(cluster18: Cluster, database: str) -> str:
    """A role that owns the table books, and has no right to anything of Lockstep's."""
    with cluster18.connect(database) as connection:
        connection.execute(
            "DO $$ BEGIN CREATE ROLE author; EXCEPTION WHEN duplicate_object THEN NULL; END $$; "
            "ALTER TABLE books OWNER TO author; GRANT CREATE ON SCHEMA public TO author; "
            "GRANT ALL ON alembic_version, authors TO author"
        )
    return "author"


@BOTH
@pytest.mark.parametrize("setting", ["SET ROLE author", "SET LOCAL ROLE author"])
def test_a_role_that_the_revision_sets_owns_what_follows_once_it_may_use_the_ledger(
    setting: str,
    short_way: bool,  # noqa: FBT001
    project: Project,
    cluster18: Cluster,
    database: str,
    author: str,
) -> None:
    project.revision(
        f"op.execute('{setting}')\n{ADDS}\n"
        "op.create_index('books_price', 'books', ['price'])\n"
        "op.create_table('written', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "assert op.get_bind().execute(sa.text('SELECT current_user')).scalar() == 'author'\n"
        "op.execute('RESET ROLE')"
    )
    before = catalog_of(cluster18, database)
    with pytest.raises(LockstepError, match="author may not use them") as refused:
        project.upgrade(short_way=short_way)
    assert catalog_of(cluster18, database) == before
    with cluster18.connect(database) as connection:
        connection.execute(str(refused.value).partition("type: ")[2])
    project.upgrade(short_way=short_way)
    with cluster18.connect(database) as connection:
        found = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'written'").fetchone()
    assert found == (author,)


def test_a_role_that_the_revision_sets_is_set_when_another_process_goes_on(
    project: Project, cluster18: Cluster, database: str, author: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(GRANTS)
    stops(project, f"op.execute('SET ROLE author')\n{ADDS}")
    edit(
        project, "r2", "raise RuntimeError('stopped')",
        "op.create_table('written', sa.Column('id', sa.Integer(), primary_key=True))",
    )  # fmt: skip
    project.upgrade()
    with cluster18.connect(database) as connection:
        found = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'written'").fetchone()
    assert found == (author,)


def test_deferred_constraints_stay_deferred(project: Project, cluster18: Cluster, database: str) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("ALTER TABLE books ALTER CONSTRAINT books_author_id_fkey DEFERRABLE")
    project.revision(
        "bind = op.get_bind()\nbind.execute(sa.text('SET CONSTRAINTS ALL DEFERRED'))\n"
        f"{ADDS}\n"
        "bind.execute(sa.text('UPDATE books SET author_id = 999 WHERE id = 1'))\n"
        "bind.execute(sa.text('UPDATE books SET author_id = 1 WHERE id = 1'))\n"
        "op.create_table('new', sa.Column('id', sa.Integer()))"
    )
    project.upgrade()
    assert project.current() == "r2 (head)"


def test_a_violated_deferred_constraint_is_told_where_lockstep_has_to_commit(
    project: Project, cluster18: Cluster, database: str
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("ALTER TABLE books ALTER CONSTRAINT books_author_id_fkey DEFERRABLE")
    project.revision(
        "bind = op.get_bind()\nbind.execute(sa.text('SET CONSTRAINTS ALL DEFERRED'))\n"
        f"bind.execute(sa.text('UPDATE books SET author_id = 999 WHERE id = 1'))\n{ADDS}"
    )
    with pytest.raises(LockstepError, match="violated at a point where Lockstep has to commit"):
        project.upgrade()
