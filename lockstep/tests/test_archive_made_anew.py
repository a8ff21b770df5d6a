"""The archive where a schema was dropped and made anew, and where sequences, enums and keys are uncommon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from databases import database18, on_tables
from failing import SCHEMA
from project import ADDS, Project, edit, stops
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster


database = database18()


def tenant(cluster: Cluster, database: str, schema: str) -> str:
    url = sa.make_url(cluster.url(database, "psycopg"))
    return url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string()


UP = (
    "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('a', sa.Text()))\n"
    "op.execute(\"INSERT INTO things (a) SELECT 'a' || n FROM generate_series(1, 9) n\")"
)


def test_a_schema_made_anew_gets_nothing_of_what_was_kept_of_the_one_before(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(UP, "op.drop_table('things')")
    project.revision("op.add_column('things', sa.Column('b', sa.Text()))", "op.drop_column('things', 'b')")
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("UPDATE things SET b = 'kept'; INSERT INTO things (a) VALUES ('kept')")
    project.downgrade("base")
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for _ in range(2):
        project.upgrade()
        rows = rows_of(cluster18, database)
        assert len(rows["things"]) == 9
        assert "kept" not in str(rows)
        project.downgrade("base")
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM lockstep.archive WHERE version_table LIKE 'public.alembic_version (gone%'"
        ).fetchone()
    assert found == (2,)


def test_a_tenant_made_anew_takes_nothing_from_another(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "")
    project.revision(UP, "op.drop_table('things')")
    for name in ("one", "two"):
        with cluster18.connect(database) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        project.upgrade(url=tenant(cluster18, database, name))
        with cluster18.connect(database) as connection:
            connection.execute(f"INSERT INTO {name}.things (a) VALUES ('of {name}')")
        project.downgrade("base", tenant(cluster18, database, name))
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA one CASCADE; CREATE SCHEMA one")
    for name in ("one", "two"):
        project.upgrade(url=tenant(cluster18, database, name))
    with cluster18.connect(database) as connection:
        found = [
            connection.execute(f"SELECT a FROM {name}.things WHERE a LIKE 'of%%' ORDER BY 1").fetchall()
            for name in ("one", "two")
        ]
    assert found == [[], [("of two",)]]


def test_what_was_half_done_in_a_tenant_made_anew_is_forgotten_and_in_another_gone_on_with(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "", short_way=False)
    project.revision(f"{UP}\nraise RuntimeError('stopped')", "op.drop_table('things')")
    for name in ("one", "two"):
        with cluster18.connect(database) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        with pytest.raises(RuntimeError, match="stopped"):
            project.upgrade(url=tenant(cluster18, database, name))
    with cluster18.connect(database) as connection:
        connection.execute("DROP SCHEMA one CASCADE; CREATE SCHEMA one")
    edit(project, "r1", "raise RuntimeError('stopped')", "pass")
    for name in ("one", "two"):
        project.upgrade(url=tenant(cluster18, database, name))
    with cluster18.connect(database) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM one.things), (SELECT count(*) FROM two.things)"
        ).fetchone()
    assert found == (9, 9)


def test_a_sequence_that_counts_down_goes_on_where_it_was(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"))
    project.revision(
        "op.create_table('things', sa.Column('id', sa.Integer(), "
        "sa.Identity(start=-1, increment=-1, minvalue=-1000, maxvalue=-1), primary_key=True), "
        "sa.Column('a', sa.Text()))\n"
        "op.execute(\"INSERT INTO things (a) VALUES ('first')\")",
        "op.drop_table('things')",
    )
    project.upgrade()
    with cluster18.connect(database) as connection:
        connection.execute("INSERT INTO things (a) SELECT 'a' || n FROM generate_series(1, 5) n")
    project.downgrade("base")
    project.upgrade()
    with cluster18.connect(database) as connection:
        drawn = connection.execute("INSERT INTO things (a) VALUES ('next') RETURNING id").fetchone()
        assert drawn == (-7,)
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
@pytest.mark.parametrize(
    "made",
    [
        "op.create_table('things', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('l', letter))",
        "letter.create(op.get_bind())\nop.execute('CREATE TABLE things (id serial PRIMARY KEY, l letter)')",
        "letter.create(op.get_bind())\nop.add_column('books', sa.Column('l', letter))",
    ],
)
def test_rows_of_an_enum_that_goes_as_well_are_kept_when_it_is_taken_back(
    made: str,
    short_way: bool,  # noqa: FBT001
    cluster18: Cluster,
    database: str,
    tmp_path: Path,
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(SCHEMA)
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision("pass")
    project.upgrade()
    before = catalog_of(cluster18, database)
    down = "op.drop_column('books', 'l')" if "add_column" in made else "op.drop_table('things')"
    body = f"letter = sa.Enum('a', 'b', name='letter')\n{made}\nop.get_bind().commit()"
    stops(project, body, f"{down}\nop.execute('DROP TYPE letter')")
    write = (
        "UPDATE books SET l = 'b' WHERE id = 1" if "add_column" in made
        else "INSERT INTO things (l) VALUES ('b')"
    )  # fmt: skip
    with cluster18.connect(database) as connection:
        connection.execute(write)
    project.downgrade("r1")
    assert catalog_of(cluster18, database) == before
    edit(project, "r2", "raise RuntimeError('stopped')", "pass")
    project.upgrade()
    table = "books" if "add_column" in made else "things"
    with cluster18.connect(database) as connection:
        found = connection.execute(f"SELECT l FROM {table} WHERE l IS NOT NULL").fetchall()
        assert found == [("b",)]
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)


def test_a_revision_whose_file_is_gone_is_taken_back(
    cluster18: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster18, database, tmp_path, SCHEMA, short_way=False)
    project.revision("pass")
    project.upgrade()
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    stops(project, f"{ADDS}\nop.create_table('new', sa.Column('id', sa.Integer()))")
    (project.folder / "versions" / "r2.py").unlink()
    project.downgrade("r1")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    assert project.current() == "r1 (head)"


ROW_TYPE = (
    "ALTER TABLE authors ADD COLUMN old books; UPDATE authors SET old = (SELECT b FROM books b WHERE id = 1)"
)


@pytest.mark.parametrize("short_way", [True, False], ids=["together", "steps"])
@pytest.mark.parametrize("drop", ["op.drop_table('books')", "op.drop_column('books', 'isbn')"])
def test_a_drop_that_rows_in_columns_elsewhere_stand_against_is_refused_with_nothing_changed(
    drop: str,
    short_way: bool,  # noqa: FBT001
    cluster18: Cluster,
    database: str,
    tmp_path: Path,
) -> None:
    with cluster18.connect(database) as connection:
        connection.execute(f"{SCHEMA}{ROW_TYPE}; DROP TABLE loans")
    project = Project(tmp_path / "project", cluster18.url(database, "psycopg"), short_way=short_way)
    project.revision("pass", drop)
    project.upgrade()
    before = catalog_of(cluster18, database), rows_of(cluster18, database)
    with pytest.raises(Exception, match=r"authors"):
        project.downgrade("base")
    assert (catalog_of(cluster18, database), rows_of(cluster18, database)) == before
    with cluster18.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)
