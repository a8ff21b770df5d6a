"""A revision that goes on runs its Python again: what that makes anew each time is not done twice."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from databases import at_first_revision, database18
from failing import SCHEMA
from killing import in_child
from lockstep.errors import CannotContinueError
from project import Project, edit

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18(SCHEMA)

TABLE = "CREATE FUNCTION note(text) RETURNS void LANGUAGE sql AS 'INSERT INTO authors (name) VALUES ($1)';"

ID = "import uuid\nmade = f'made {uuid.uuid4()}'\n"

WAYS = {
    "INSERT": "op.execute(f\"INSERT INTO authors (name) VALUES ('{made}')\")",
    "DO": "op.execute(f\"DO $$ BEGIN INSERT INTO authors (name) VALUES ('{made}'); END $$\")",
    "DO, built at run time": "op.execute(f\"DO $$ BEGIN EXECUTE 'INSERT INTO authors (name) VALUES (' || "
    "quote_literal('{made}') || ')'; END $$\")",
    "a function": "op.execute(f\"SELECT note('{made}')\")",
    "get_bind": "op.get_bind().exec_driver_sql(f\"INSERT INTO authors (name) VALUES ('{made}')\")",
}

MADE = "SELECT name FROM authors WHERE name LIKE 'made%'"


@pytest.fixture
def project(cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project at its first revision, each of whose operations is committed."""
    with cluster18.connect(database) as connection:
        connection.execute(TABLE)
    return at_first_revision(
        Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=False)
    )


def _kill(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_refused_and_goes_on_with_the_value_that_was_used(
    way: str, project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(f"{ID}{WAYS[way]}\nop.create_index('books_price', 'books', ['price'])")
    in_child(project.upgrade, _kill, "CREATE INDEX")
    with pytest.raises(CannotContinueError, match="lockstep abandon") as refused:
        project.upgrade()
    assert "alembic downgrade" not in str(refused.value)
    with cluster18.connect(database) as connection:
        found = connection.execute(MADE).fetchall()
    assert len(found) == 1
    edit(project, "r2", "f'made {uuid.uuid4()}'", repr(found[0][0]))
    project.upgrade()
    assert project.current() == "r2 (head)"
    with cluster18.connect(database) as connection:
        assert connection.execute(MADE).fetchall() == found


def test_what_can_be_taken_back_is_and_then_runs_with_new_values(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        "import uuid\nop.create_table('made', sa.Column('id', sa.Uuid()))\n"
        "op.execute(f\"INSERT INTO made VALUES ('{uuid.uuid4()}')\")\n"
        "op.create_index('books_price', 'books', ['price'])",
    )
    in_child(project.upgrade, _kill, "CREATE INDEX")
    with pytest.raises(CannotContinueError, match="`alembic downgrade` to take back"):
        project.upgrade()
    project.downgrade("r1")
    project.upgrade(short_way=True)
    with cluster18.connect(database) as connection:
        assert len(connection.execute("SELECT id FROM made").fetchall()) == 2


def test_statements_that_differ_in_their_values_alone_are_each_done_once(
    project: Project, cluster18: Cluster, database: str
) -> None:
    many = "\n".join(f"op.execute(\"INSERT INTO authors (name) VALUES ('made {n}')\")" for n in range(6))
    project.revision(many)
    in_child(project.upgrade, _kill, "'made 3'")
    project.upgrade()
    with cluster18.connect(database) as connection:
        assert sorted(connection.execute(MADE).fetchall()) == [(f"made {n}",) for n in range(6)]


@pytest.mark.parametrize(
    "way",
    [
        "op.execute(sa.text('INSERT INTO authors (name) VALUES (:made)').bindparams(made=made))",
        "op.get_bind().execute(sa.text('INSERT INTO authors (name) VALUES (:made)'), {'made': made})",
        "op.bulk_insert(sa.table('authors', sa.column('name')), [{'name': made}])",
        'op.execute(f"COMMENT ON TABLE authors IS \'{made}\'")\nop.execute("INSERT INTO authors (name) '
        "VALUES ('made')\")",
    ],
)
def test_a_value_that_is_bound_or_does_no_harm_is_not_compared(
    way: str, project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(f"{ID}{way}\nop.create_index('books_price', 'books', ['price'])")
    in_child(project.upgrade, _kill, "CREATE INDEX")
    project.upgrade()
    with cluster18.connect(database) as connection:
        assert len(connection.execute(MADE).fetchall()) == 1


def test_so_it_is_where_the_revision_runs_again_because_it_did_not_get_a_lock(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision(
        f"{ID}{WAYS['INSERT']}\nop.create_index('books_title_price', 'books', ['title', 'price'])\n"
        "op.add_column('loans', sa.Column('x', sa.Integer()))"
    )
    with cluster18.connect(database) as connection, cluster18.connect(database) as other:
        connection.execute("INSERT INTO books (title) SELECT 'book ' || n FROM generate_series(1, 12000) n")
        other.execute("BEGIN")
        other.execute("LOCK TABLE loans IN ACCESS SHARE MODE")
        with pytest.raises(CannotContinueError, match="done before, with other values"):
            project.upgrade(short_way=True)
        assert len(connection.execute(MADE).fetchall()) == 1


@pytest.mark.parametrize("returning", [False, True])
def test_what_comes_after_gets_the_new_value_and_by_returning_the_old_one(
    returning: bool,  # noqa: FBT001  # pytest's way to give it
    project: Project,
    cluster18: Cluster,
    database: str,
) -> None:
    insert = "INSERT INTO authors (name) VALUES (:made) RETURNING name"
    project.revision(
        f"{ID}given = op.get_bind().execute(sa.text('{insert}'), {{'made': made}}).scalar_one()\n"
        "op.create_index('books_price', 'books', ['price'])\n"
        "op.bulk_insert(sa.table('authors', sa.column('name')), "
        f"[{{'name': {'given' if returning else 'made'}}}])"
    )
    in_child(project.upgrade, _kill, "CREATE INDEX")
    project.upgrade()
    with cluster18.connect(database) as connection:
        assert len(set(connection.execute(MADE).fetchall())) == (1 if returning else 2)
