"""What has no place any more stays in the archive, with the reason; nothing else sees what is given back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from archive_shapes import RAW, TYPES
from databases import on_tables
from project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: Another unique key than the primary one, a check, an exclusion, a parent, an enum: all may refuse a row.
UP = f"""{RAW}
op.create_table('parents', sa.Column('id', sa.Integer(), primary_key=True))
op.create_table('t', sa.Column('id', sa.Integer(), primary_key=True),
    sa.Column('b', sa.Text()), sa.Column('m', raw('mood')), sa.Column('r', raw('int4range')),
    sa.Column('parent_id', sa.Integer(), sa.ForeignKey('parents.id')),
    postgresql.ExcludeConstraint((sa.column('r'), '&&'), name='t_apart'))
op.create_index('t_b', 't', [sa.text('lower(b)')], unique=True, postgresql_where=sa.text("b <> 'free'"))
"""
MORE = """
op.execute("INSERT INTO parents VALUES (1)")
op.execute("INSERT INTO t VALUES (101, 'B3', 'sad', '[200,300)', NULL)")
"""
DOWN = "op.drop_table('t')\nop.drop_table('parents')"
ROWS = """
INSERT INTO parents VALUES (1), (2);
INSERT INTO t SELECT n, 'b' || n, CASE n WHEN 5 THEN 'glad' ELSE 'sad' END::mood,
    CASE n WHEN 7 THEN '[250,251)' ELSE int4range(n, n + 1) END, CASE n WHEN 9 THEN 2 ELSE 1 END
FROM generate_series(1, 12) n;
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    project = on_tables(cluster, database, tmp_path, TYPES)
    project.revision(UP, DOWN)
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute(ROWS)
    project.downgrade("base")
    return project


def _corrected(project: Project, upgrade: str, downgrade: str = DOWN) -> None:
    project.count = 0
    project.revision(upgrade, downgrade)


def test_a_row_whose_key_is_taken_stays_with_the_row_in_its_way(
    project: Project, cluster: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with cluster.connect(database) as connection:
        connection.execute("DROP TYPE mood; CREATE TYPE mood AS ENUM ('sad')")
    _corrected(project, UP + MORE)
    project.upgrade()
    with cluster.connect(database) as connection:
        place = connection.execute("SELECT place FROM lockstep.archive WHERE state = 'set aside'").fetchall()
        kept = [row for row in place if row[0].endswith("_t")]
        left = connection.execute(
            f'SELECT id, lockstep_set_aside FROM lockstep_archive."{kept[0][0]}" ORDER BY id'
        ).fetchall()
        there = connection.execute("SELECT count(*) FROM t").fetchone()
    reasons: dict[int, str] = dict(left)
    assert sorted(reasons) == [3, 5, 7]
    assert "t_b" in reasons[3]
    assert '"id": 101' in reasons[3]
    assert 'invalid input value for enum mood: "glad"' in reasons[5]
    assert "t_apart" in reasons[7]
    assert '"id": 101' in reasons[7]
    assert there == (10,)
    assert "3 of its rows are set aside" in caplog.text
    assert '"id": 101' in caplog.text


def test_a_row_whose_parent_is_gone_stays_with_its_key(
    project: Project, cluster: Cluster, database: str
) -> None:
    _corrected(
        project,
        UP.replace(
            "op.create_index", "op.create_check_constraint('few', 'parents', 'id < 2')\nop.create_index"
        ),
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        named = connection.execute("SELECT table_name, place FROM lockstep.archive").fetchall()
        places: dict[str, str] = dict(named)
        parents = connection.execute(
            f'SELECT id, lockstep_set_aside FROM lockstep_archive."{places["parents"]}"'
        ).fetchall()
        children = connection.execute(
            f'SELECT id, lockstep_set_aside FROM lockstep_archive."{places["t"]}"'
        ).fetchall()
    assert [row[0] for row in parents] == [2]
    assert "few" in parents[0][1]
    assert [row[0] for row in children] == [9]
    assert "Key (parent_id)=(2) is not present" in children[0][1]


def test_rows_stay_where_the_table_has_another_shape_and_come_back_when_the_file_is_put_right(
    project: Project, cluster: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    _corrected(project, UP.replace("sa.Column('b', sa.Text())", "sa.Column('b', sa.String(9))"))
    project.upgrade()
    assert "t.b, kept as text, has another type now (character varying(9))" in caplog.text
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        connection.execute("INSERT INTO t (id, b) VALUES (1, 'new')")
    project.downgrade("base")
    _corrected(project, UP)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (12,)
        found = connection.execute("SELECT table_name, state FROM lockstep.archive ORDER BY id").fetchall()
    # The row that was written under the other type has nowhere to go: its column's type is another one now.
    assert found == [("t", "kept")]


def test_a_column_that_is_not_there_any_more_keeps_all_of_its_rows_in_the_archive(
    project: Project, cluster: Cluster, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    _corrected(
        project,
        UP.replace("sa.Column('b', sa.Text()), ", "sa.Column('c', sa.Text()), ").split("op.create_index")[0],
    )
    project.upgrade()
    assert "t.b, kept as text, is not there any more" in caplog.text
    with cluster.connect(database) as connection:
        place = connection.execute("SELECT place FROM lockstep.archive WHERE state = 'kept'").fetchone()
        assert place
        assert connection.execute(f'SELECT count(b) FROM lockstep_archive."{place[0]}"').fetchone() == (12,)


def test_an_ordinary_owner_fires_no_trigger_either(cluster: Cluster, database: str, tmp_path: Path) -> None:
    role = f"owner_of_{database}"
    with cluster.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN; ALTER SCHEMA public OWNER TO {role}")
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
    url = cluster.url(database, "psycopg").replace("postgres@", f"{role}@")
    project = Project(tmp_path / "project", url)
    project.revision(
        f"op.execute('''{TYPES}''')\n"
        "op.create_table('notes', sa.Column('id', sa.Integer(), primary_key=True),\n"
        "    sa.Column('b', sa.Text()))\n"
        "op.execute('INSERT INTO notes SELECT n FROM generate_series(1, 9) n')"
    )
    project.revision(
        "op.create_table('t', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('b', sa.Text()))\n"
        "op.execute('CREATE TRIGGER s BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp()')\n"
        "op.execute('ALTER TABLE t ENABLE ROW LEVEL SECURITY')\n"
        "op.execute('ALTER TABLE t FORCE ROW LEVEL SECURITY')\n"
        "op.add_column('notes', sa.Column('extra', sa.Integer()))\n"
        "op.execute('CREATE TRIGGER s BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION stamp()')\n",
        "op.execute('DROP TRIGGER s ON notes')\nop.drop_column('notes', 'extra')\n"
        "op.execute('CREATE TRIGGER s BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION stamp()')\n"
        "op.drop_table('t')",
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("ALTER TABLE t DISABLE TRIGGER s")
        connection.execute("INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 9) n")
        connection.execute("ALTER TABLE t ENABLE TRIGGER s")
        connection.execute("ALTER TABLE notes DISABLE TRIGGER s; UPDATE notes SET extra = id")
        connection.execute("ALTER TABLE notes ENABLE TRIGGER s")
    project.downgrade("r1")
    with cluster.connect(database) as connection:
        connection.execute("CREATE TRIGGER s2 BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION stamp()")
        connection.execute("DROP TRIGGER s ON notes")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM t WHERE b = 'b' || id").fetchone() == (9,)
        assert connection.execute("SELECT count(*) FROM notes WHERE extra = id AND b IS NULL").fetchone() == (
            9,
        )
        enabled = connection.execute(
            "SELECT DISTINCT tgenabled::text FROM pg_trigger WHERE tgname LIKE 's%' AND NOT tgisinternal"
        ).fetchall()
        forced = connection.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 't'").fetchone()
    assert enabled == [("O",)]
    assert forced == (True,)
    with cluster.connect(database) as connection:
        connection.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")
