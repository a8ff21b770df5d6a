"""The ways on from a revision that is half done: corrected, taken back, given up; and what it is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.exc import DBAPIError

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


def test_a_corrected_file_goes_on_when_it_repeats_what_was_done(
    project: Project, cluster18: Cluster, database: str
) -> None:
    stops(project, f"{ADDS}\nop.create_index('books_price', 'books', ['price'])")
    edit(project, "r2", "raise RuntimeError('stopped')", "op.create_index('books_isbn', 'books', ['isbn'])")
    project.upgrade()
    assert {"books_price", "books_isbn"} <= indexes(cluster18, database)
    assert project.current() == "r2 (head)"


def indexes(cluster: Cluster, database: str) -> set[str]:
    with cluster.connect(database) as connection:
        return {row[0] for row in connection.execute("SELECT indexname FROM pg_indexes")}


def test_a_file_that_does_something_else_is_told_which_operation_differs(project: Project) -> None:
    stops(project, ADDS)
    edit(project, "r2", "server_default='100'", "server_default='200'")
    with pytest.raises(CannotContinueError, match="books: add column pages: this operation was done before"):
        project.upgrade()
    edit(project, "r2", ADDS.replace("100", "200"), "pass")
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    with pytest.raises(CannotContinueError, match="is not in it now: books: add column pages"):
        project.upgrade()


def test_a_downgrade_takes_back_what_was_done_whatever_the_file_says_now(
    project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"{ADDS}\nop.create_table('new', sa.Column('id', sa.Integer()))")
    edit(project, "r2", ADDS, "no_such_name()")
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before


def test_a_stamp_over_a_half_done_revision_is_refused_with_what_to_do(project: Project) -> None:
    stops(project, ADDS)
    with pytest.raises(LockstepError, match=r"revision r2 is half done.*lockstep abandon"):
        command.stamp(project.config(), "r2")
    with pytest.raises(LockstepError, match=r"revision r2 is half done"):
        command.stamp(project.config(), "r1", purge=True)
    assert project.current() == "r1"


def test_what_became_of_a_statement_in_a_corrected_file_is_refused_before_it_is_run(
    project: Project, cluster18: Cluster, database: str
) -> None:
    stops(project, "op.execute('UPDATE books SET price = price + 1')")
    before = rows_of(cluster18, database)
    edit(project, "r2", "UPDATE books SET", "update books set")
    with pytest.raises(
        CannotContinueError, match=r"comes before what was done before: execute UPDATE books.*abandon"
    ):
        project.upgrade()
    assert rows_of(cluster18, database) == before
    edit(project, "r2", "update books set", "UPDATE books SET")
    edit(project, "r2", "raise RuntimeError('stopped')", "op.execute('UPDATE books SET isbn = NULL')")
    project.upgrade()


def test_what_cannot_be_taken_back_is_said_with_the_last_resort(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    stops(project, "op.execute('DROP TABLE loans')")
    assert "stops at the same place until then. The last resort is `lockstep abandon`" in caplog.text


def test_a_downgrade_that_finishes_the_upgrade_first_stops_at_the_same_rows_until_they_are_put_right(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "op.execute('DROP TABLE loans')\nop.create_check_constraint('c', 'books', 'price < 3')",
        "op.drop_constraint('c', 'books')",
    )
    with pytest.raises(DBAPIError, match='"c"'):
        project.upgrade()
    with pytest.raises(DBAPIError, match='"c"'):
        project.downgrade("r1")
    with cluster18.connect(database) as connection:
        connection.execute("UPDATE books SET price = 1")
    project.downgrade("r1")
    assert project.current() == "r1"


def test_one_branchs_half_done_revision_does_not_stop_anothers(
    project: Project, cluster18: Cluster, database: str
) -> None:
    stops(project, ADDS)
    project.revision("op.create_table('other', sa.Column('id', sa.Integer()))", down="r1")
    project.upgrade("r3")
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('other') IS NOT NULL").fetchone() == (True,)
        assert connection.execute("SELECT revision FROM lockstep.revision").fetchall() == [("r2",)]


def test_a_database_whose_public_was_made_anew_starts_anew(
    project: Project, cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    stops(project, "op.create_table('new', sa.Column('id', sa.Integer()))")
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    assert "was made anew" in caplog.text
    assert project.current() == "r2 (head)"
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('new') IS NOT NULL").fetchone() == (True,)


def test_tenants_by_search_path_have_an_entry_each(cluster18: Cluster, database: str, tmp_path: Path) -> None:
    with cluster18.connect(database) as connection:
        connection.execute("CREATE SCHEMA one; CREATE SCHEMA two")
    url = sa.make_url(cluster18.url(database, "psycopg"))

    def tenant(name: str) -> str:
        return url.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(
            hide_password=False
        )

    project = Project(tmp_path / "tenants", "", short_way=False)
    project.revision(
        "op.create_table('things', sa.Column('id', sa.Integer()))\n"
        "if op.get_bind().execute(sa.text('SELECT current_schema()')).scalar() == 'one':\n"
        "    raise RuntimeError('stopped')"
    )
    with pytest.raises(RuntimeError, match="stopped"):
        project.upgrade(url=tenant("one"))
    project.upgrade(url=tenant("two"))
    edit(project, "r1", "    raise RuntimeError('stopped')", "    pass")
    project.upgrade(url=tenant("one"))
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT to_regclass('one.things') IS NOT NULL, to_regclass('two.things') IS NOT NULL, "
            "(SELECT version_num FROM one.alembic_version), (SELECT version_num FROM two.alembic_version)"
        ).fetchone()
    assert found == (True, True, "r1", "r1")


def test_a_ledger_of_an_older_lockstep_is_brought_up_to_date_and_gone_on_with(
    project: Project, cluster18: Cluster, database: str
) -> None:
    """The tables as the version before wrote them, with a revision half done."""
    stops(project, ADDS)
    with cluster18.connect(database) as connection:
        connection.execute(
            """
            ALTER TABLE lockstep.operation DROP CONSTRAINT operation_version_table_revision_fkey;
            ALTER TABLE lockstep.operation DROP CONSTRAINT operation_pkey, DROP COLUMN fingerprint;
            ALTER TABLE lockstep.operation DROP COLUMN revision, ADD PRIMARY KEY (version_table, key);
            ALTER TABLE lockstep.revision DROP CONSTRAINT revision_pkey, ADD PRIMARY KEY (version_table);
            ALTER TABLE lockstep.operation ADD CONSTRAINT operation_version_table_fkey
                FOREIGN KEY (version_table) REFERENCES lockstep.revision ON DELETE CASCADE ON UPDATE CASCADE;
            UPDATE lockstep.revision SET version_table = '.alembic_version';
            DROP TABLE lockstep.version_table, lockstep.control;
            """
        )
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    assert project.current() == "r2 (head)"
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.operation").fetchone() == (0,)


ENUM = "letter = sa.Enum('a', 'b', name='letter')\n"


def test_types_tables_and_indexes_made_through_the_bind_are_gone_on_with(
    project: Project, cluster18: Cluster, database: str
) -> None:
    made = (
        f"{ENUM}letter.create(op.get_bind(), checkfirst=True)\n"
        "column, index = sa.Column('id', sa.Integer()), sa.Index('bound_id', 'id')\n"
        "table = sa.Table('bound', sa.MetaData(), column, index)\n"
        "table.create(op.get_bind())\n"
        "op.add_column('books', sa.Column('letter', letter))"
    )
    stops(project, made)
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    assert "bound_id" in indexes(cluster18, database)


def test_types_tables_and_indexes_made_through_the_bind_are_taken_back(
    project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(
        project,
        f"{ENUM}letter.create(op.get_bind(), checkfirst=True)\n"
        "column, index = sa.Column('id', sa.Integer()), sa.Index('bound_id', 'id')\n"
        "table = sa.Table('bound', sa.MetaData(), column, index)\n"
        "table.create(op.get_bind())\n"
        "op.execute('SET statement_timeout = 0')\n"
        "op.add_column('books', sa.Column('letter', letter))",
    )
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before


def test_an_enum_that_two_tables_share_survives_a_stop_between_them_and_goes_with_them(
    project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"{ENUM}op.create_table('one', sa.Column('l', letter))")
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    with pytest.raises(RuntimeError, match="stopped"):
        project.upgrade()
    edit(project, "r2", "raise RuntimeError('stopped')", "op.create_table('two', sa.Column('l', letter))")
    project.upgrade()
    assert project.current() == "r2 (head)"


@pytest.mark.parametrize("short_way", [False, True], ids=["steps", "together"])
def test_an_enum_is_the_same_one_in_a_corrected_file(project: Project, *, short_way: bool) -> None:
    """Committed by the revision itself, so in one transaction, too, something is half done."""
    project.run_options["short_way"] = short_way
    stops(
        project,
        f"{ENUM}t = op.create_table('one', sa.Column('l', letter))\nop.bulk_insert(t, [{{'l': 'a'}}])\n"
        "op.create_table('two', sa.Column('l', letter))\n"
        "op.add_column('books', sa.Column('l', letter))\nop.get_bind().commit()",
    )
    edit(project, "r2", "raise RuntimeError('stopped')", "op.create_table('three', sa.Column('l', letter))")
    project.upgrade()
    assert project.current() == "r2 (head)"


def test_plain_takes_part(project: Project, cluster18: Cluster, database: str) -> None:
    stops(
        project,
        "with lockstep.plain():\n    op.execute('UPDATE books SET price = price * 2')\n"
        "    op.create_table('new', sa.Column('id', sa.Integer()))\n"
        f"{ADDS}",
    )
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    with cluster18.connect(database) as connection:
        before = connection.execute("SELECT sum(price) FROM books").fetchone()
    project.upgrade()
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT sum(price) FROM books").fetchone() == before


def test_what_plain_made_is_neither_made_twice_nor_left_behind(
    project: Project, cluster18: Cluster, database: str
) -> None:
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    made = (
        "with lockstep.plain():\n"
        "    op.create_table('new', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "    op.create_index('books_price', 'books', ['price'])\n"
    )
    stops(project, f"{made}{ADDS}", "pass")
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    with pytest.raises(RuntimeError, match="stopped"):
        project.upgrade()
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    assert "books_price" in indexes(cluster18, database)


def test_reflection_need_not_be_the_same_the_second_time(project: Project) -> None:
    stops(
        project,
        "inspector = sa.inspect(op.get_bind())\ninspector.get_indexes('books')\n"
        f"op.get_bind().execute(sa.text('UPDATE books SET price = price + 1'))\n{ADDS}",
    )
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    edit(project, "r2", "inspector.get_indexes('books')", "inspector.get_columns('authors')")
    project.upgrade()


def test_a_commit_of_the_revisions_own_then_a_statement_then_an_operation(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "bind = op.get_bind()\nbind.execute(sa.text('UPDATE books SET price = 1'))\nbind.commit()\n"
        f"bind.execute(sa.text('UPDATE books SET price = price + 1'))\n{ADDS}",
    )
    project.upgrade(short_way=True)
    assert project.current() == "r2 (head)"
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT DISTINCT price FROM books").fetchall() == [(2,)]


def test_a_raw_concurrent_index_is_recognised_from_the_catalog(
    project: Project, cluster18: Cluster, database: str
) -> None:
    stops(
        project,
        "with op.get_context().autocommit_block():\n"
        "    op.execute('CREATE INDEX CONCURRENTLY books_raw ON books (isbn)')",
    )
    with cluster18.connect(database) as connection:
        connection.execute("UPDATE lockstep.operation SET done = 0 WHERE says LIKE '%books_raw%'")
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    assert "books_raw" in indexes(cluster18, database)


def test_a_violated_constraint_is_not_reported_as_half_done_where_nothing_is(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.revision("op.create_check_constraint('c', 'books', 'price < 3')")
    with pytest.raises(DBAPIError):
        project.upgrade(short_way=True)
    assert "stopped half way" not in caplog.text
