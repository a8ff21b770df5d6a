"""Errors that a revision's own code swallows end as with plain Alembic, in one transaction and in steps."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from databases import database18
from failing import SCHEMA
from lockstep.errors import LockstepError
from project import ADDS, Project
from state import state_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

_LARGE = """
CREATE TABLE large (id integer, a text);
INSERT INTO large SELECT n, repeat('x', 99) FROM generate_series(1, 9000) n;
"""

database = database18(SCHEMA + _LARGE)

#: What a failing revision says.
SAYS = "nothing|zero|could not create|violate|aborted|NOT NULL|null values"


def swallowed(wrong: str) -> str:
    return f"try:\n    {wrong}\nexcept Exception:\n    pass\n"


def in_a_block(wrong: str) -> str:
    return f"with op.get_context().autocommit_block():\n{textwrap.indent(swallowed(wrong), '    ')}"


def first(folder: Path, url: str, *, short_way: bool = True) -> Project:
    project = Project(folder / "project", url, short_way=short_way)
    project.revision("pass")
    project.upgrade()
    return project


FAILS = [
    swallowed("op.create_check_constraint('c', 'books', 'price < 3')").replace(" Exception", "") + ADDS,
    swallowed("op.drop_constraint('nothing', 'books')") + ADDS,
    pytest.param(ADDS + "\n" + swallowed("op.drop_constraint('nothing', 'books')"), marks=pytest.mark.prove),
    pytest.param(
        swallowed("op.create_index('i', 'books', ['price'], unique=True)") + ADDS, marks=pytest.mark.prove
    ),
    pytest.param(swallowed("op.execute('SELECT 1 / 0')") + ADDS, marks=pytest.mark.prove),
    swallowed("op.get_bind().exec_driver_sql('SELECT 1 / 0')") + ADDS,
    ADDS + "\n" + swallowed("op.get_bind().exec_driver_sql('SELECT 1 / 0')"),
    pytest.param(
        swallowed("op.add_column('books', sa.Column('n', sa.Text(), nullable=False))") + ADDS,
        marks=pytest.mark.prove,
    ),
]
PASSES = [
    pytest.param(swallowed("op.create_index('i', 'books', [None])") + ADDS, marks=pytest.mark.prove),
    swallowed("with op.get_bind().begin_nested(): op.drop_constraint('nothing', 'books')") + ADDS,
    pytest.param(
        swallowed("with op.get_bind().begin_nested(): op.get_bind().exec_driver_sql('SELECT 1 / 0')") + ADDS,
        marks=pytest.mark.prove,
    ),
    in_a_block("op.drop_constraint('nothing', 'books')") + ADDS,
    pytest.param(in_a_block("op.get_bind().exec_driver_sql('SELECT 1 / 0')") + ADDS, marks=pytest.mark.prove),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("short_way", [True, False])
@pytest.mark.parametrize("body", FAILS)
def test_it_fails_where_plain_alembic_does(
    tmp_path: Path, cluster18: Cluster, database: str, body: str, *, short_way: bool
) -> None:
    project = first(tmp_path, cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision(body)
    before = state_of(cluster18, database)
    with pytest.raises(Exception, match="aborted"):
        project.upgrade(plain=True)
    with pytest.raises(Exception, match=SAYS):
        project.upgrade()
    if short_way:
        assert state_of(cluster18, database).difference(before) is None
    project.downgrade("r1")
    assert state_of(cluster18, database).difference(before) is None


@pytest.mark.parametrize("short_way", [True, False])
@pytest.mark.parametrize("body", PASSES)
def test_it_passes_where_plain_alembic_does(
    tmp_path: Path, cluster18: Cluster, database: str, body: str, *, short_way: bool
) -> None:
    project = first(tmp_path, cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision(body, "op.drop_column('books', 'pages')")
    project.upgrade(plain=True)
    right = state_of(cluster18, database)
    project.downgrade("r1", plain=True)
    project.upgrade()
    assert state_of(cluster18, database).difference(right) is None


@pytest.mark.parametrize(
    "refused",
    [
        "op.execute('CREATE INDEX i ON large (id)')",
        "op.get_bind().exec_driver_sql('CREATE INDEX i ON large (id)')",
        "with op.get_bind().begin_nested(): op.get_bind().exec_driver_sql('RESET ALL')",
    ],
)
def test_a_refusal_is_not_swallowed(tmp_path: Path, cluster18: Cluster, database: str, refused: str) -> None:
    project = first(tmp_path, cluster18.url(database, "psycopg"))
    project.revision(swallowed(refused))
    with pytest.raises(LockstepError):
        project.upgrade()
    assert project.current().startswith("r1")
