"""What PostgreSQL refuses at once leaves no revision half done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from databases import at_first_revision, database18
from lockstep import LockstepError
from lockstep.errors import CannotContinueError
from project import Project, edit
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: things is large enough to be changed in steps.
SCHEMA = """
CREATE TABLE things (id integer PRIMARY KEY, name text, owner_id integer, note text);
INSERT INTO things SELECT n, repeat('n', 100) || n, n % 7 + 1, CASE n WHEN 9 THEN 'note' END
FROM generate_series(1, 3000) n;
CREATE TABLE owners (id integer PRIMARY KEY, name text);
INSERT INTO owners SELECT n, 'o' || n FROM generate_series(1, 5) n;
"""

ERRORS = (DBAPIError, LockstepError, ValueError)

database = database18(SCHEMA)


@dataclass(frozen=True)
class Refused:
    """An operation that PostgreSQL refuses; ``block``: in an autocommit_block."""

    name: str
    operation: str
    block: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def lines(self) -> str:
        if not self.block:
            return self.operation
        return f"with op.get_context().autocommit_block():\n    {self.operation}"

    @property
    def indented(self) -> str:
        return self.lines.replace("\n", "\n    ")


def _execute(sql: str) -> Refused:
    return Refused(sql, f'op.execute("{sql}")', block=True)


REFUSED = [
    _execute("CREATE INDEX CONCURRENTLY i ON things (nothing)"),
    _execute("CREATE INDEX CONCURRENTLY i ON nothing (id)"),
    _execute("CREATE INDEX CONCURENTLY i ON things (id)"),
    _execute("CREATE INDEX CONCURRENTLY ON things (nothing)"),
    _execute("CREATE UNIQUE INDEX CONCURRENTLY i ON things (owner_id)"),
    _execute("DROP INDEX CONCURRENTLY nothing"),
    _execute("REINDEX INDEX CONCURRENTLY nothing"),
    _execute("VACUUM nothing"),
    _execute("ALTER SYSTEM SET nothing = 1"),
    Refused("an index that the revision says is concurrent",
            "op.create_index('i', 'things', ['nothing'], postgresql_concurrently=True)", block=True),
    Refused("a concurrent index on a table that is not there",
            "op.create_index('i', 'nothing', ['id'], postgresql_concurrently=True)", block=True),
    Refused("a concurrent unique index, and duplicates",
            "op.create_index('i', 'things', ['owner_id'], unique=True, postgresql_concurrently=True)",
            block=True),
    Refused("an index on a column that is not there", "op.create_index('i', 'things', ['nothing'])"),
    Refused("a unique index, and duplicates", "op.create_index('i', 'things', ['owner_id'], unique=True)"),
    Refused("a unique constraint, and duplicates",
            "op.create_unique_constraint('u', 'things', ['owner_id'])"),
    Refused("an index that is not there", "op.drop_index('nothing', 'things')"),
    Refused("a foreign key of a column that is not there",
            "op.create_foreign_key('f', 'things', 'owners', ['nothing'], ['id'])"),
    Refused("a foreign key to a column that is not there",
            "op.create_foreign_key('f', 'things', 'owners', ['owner_id'], ['nothing'])"),
    Refused("a foreign key to a column that is not unique",
            "op.create_foreign_key('f', 'owners', 'things', ['id'], ['owner_id'])"),
    Refused("a foreign key, and rows without a parent",
            "op.create_foreign_key('f', 'things', 'owners', ['owner_id'], ['id'])"),
    Refused("a check of a column that is not there",
            "op.create_check_constraint('c', 'things', 'nothing > 0')"),
    Refused("a check, and rows that break it", "op.create_check_constraint('c', 'things', 'owner_id < 3')"),
    Refused("a constraint that is not there", "op.drop_constraint('nothing', 'things')"),
    Refused("NOT NULL, and rows without a value", "op.alter_column('things', 'note', nullable=False)"),
    Refused("a column that is not there", "op.alter_column('things', 'nothing', nullable=False)"),
    Refused("a type by a column that is not there",
            "op.alter_column('things', 'name', type_=sa.Integer(), postgresql_using='nothing::integer')"),
    Refused("a column that exists", "op.add_column('things', sa.Column('name', sa.Text()))"),
    Refused("a drop of a column that is not there", "op.drop_column('things', 'nothing')"),
    Refused("a drop of a table that is not there", "op.drop_table('nothing')"),
    Refused("a backfill of rows by a column that is not there",
            "op.backfill('things', {'note': 'x'}, where='nothing IS NULL')"),
    Refused("a backfill from a column that is not there",
            "op.backfill('things', {'note': sa.text('nothing')}, where='note IS NULL')"),
    Refused("a backfill that divides by zero",
            "op.backfill('things', {'note': sa.text('1 / (id - 1)')}, where='note IS NULL')"),
    Refused("a syntax error", "op.execute('ALTER TABEL things')"),
    Refused("what is there already, then an error",
            "op.create_index('things_pkey', 'things', ['id'], if_not_exists=True)\nraise ValueError('no')"),
]  # fmt: skip

NOTHING = Refused(
    "what is gone already, then an error",
    "op.drop_index('nothing', 'things', if_exists=True)\nop.execute('SELECT 1')\nraise ValueError('no')",
)


@pytest.fixture(params=["together", "steps"])
def project(request: pytest.FixtureRequest, cluster18: Cluster, database: str, tmp_path: Path) -> Project:
    """A project at its first revision."""
    folder, url = tmp_path / "project", cluster18.url(database, "psycopg")
    return at_first_revision(Project(folder, url, short_way=request.param == "together"))


def fails(project: Project, lines: str) -> None:
    project.revision(lines)
    with pytest.raises(ERRORS):
        project.upgrade()


def put_right(project: Project, wrong: Refused) -> None:
    """Another operation in the place of the one that was refused."""
    edit(
        project,
        "r2",
        wrong.indented,
        "op.create_table('other', sa.Column('id', sa.Integer(), primary_key=True))",
    )
    project.upgrade()


def written(cluster: Cluster, database: str) -> tuple[int, ...] | None:
    with cluster.connect(database) as connection:
        return connection.execute(
            "SELECT (SELECT count(*) FROM lockstep.revision), (SELECT count(*) FROM lockstep.operation)"
        ).fetchone()


@pytest.mark.one_in(16)
@pytest.mark.parametrize("wrong", [*REFUSED, NOTHING], ids=str)
def test_a_revision_that_was_refused_before_it_did_anything_has_not_begun(
    wrong: Refused, project: Project, cluster18: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    fails(project, wrong.lines)
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    assert project.current() == "r1"
    assert written(cluster18, database) == (0, 0)
    assert "half way" not in caplog.text
    assert "half done" not in caplog.text
    put_right(project, wrong)
    assert project.current() == "r2 (head)"


@pytest.mark.one_in(3)
def test_after_a_refusal_the_file_may_have_another_operation_in_its_place(
    project: Project, cluster18: Cluster, database: str
) -> None:
    """One file, tried with each mistake in turn; what stands before it is done once."""
    fails(project, f"op.create_index('things_owner', 'things', ['owner_id'])\n{REFUSED[0].lines}")
    for before, wrong in pairwise(REFUSED):
        edit(project, "r2", before.indented, wrong.indented)
        with pytest.raises(ERRORS) as raised:
            project.upgrade()
        assert not isinstance(raised.value, CannotContinueError), f"{wrong} after {before}"
    assert project.current() == "r1"
    put_right(project, REFUSED[-1])
    assert project.current() == "r2 (head)"
    assert written(cluster18, database) == (0, 0)
    with cluster18.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('things_owner'), to_regclass('other')").fetchone()
    assert found == ("things_owner", "other")


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (
            "op.backfill('things', {'note': sa.text(\"1 / (id - 2999) || ''\")}, where='note IS NULL')",
            "SELECT count(*) > 0 FROM things WHERE note = '0'",
        ),
        (
            _execute("CREATE UNIQUE INDEX CONCURRENTLY ON things (owner_id)").lines,
            "SELECT count(*) = 1 FROM pg_index WHERE NOT indisvalid",
        ),
    ],
    ids=["a backfill", "an index without a name"],
)
def test_what_was_refused_after_something_was_done_is_half_done(
    lines: str,
    left: str,
    project: Project,
    cluster18: Cluster,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fails(project, lines)
    assert "revision r2 stopped half way" in caplog.text
    assert written(cluster18, database) == (1, 1)
    with cluster18.connect(database) as connection:
        assert connection.execute(left).fetchone() == (True,)


def test_a_downgrade_that_was_refused_before_it_did_anything_has_not_begun(
    project: Project, cluster18: Cluster, database: str
) -> None:
    project.revision("pass", "op.create_index('i', 'things', ['nothing'])")
    project.upgrade()
    with pytest.raises(DBAPIError):
        project.downgrade("r1")
    assert project.current() == "r2 (head)"
    assert written(cluster18, database) == (0, 0)
