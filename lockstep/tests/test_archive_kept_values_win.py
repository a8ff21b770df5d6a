"""What people had entered is there after a downgrade and an upgrade, whatever the revision's own SQL says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from databases import database18, on_tables
from lockstep import LockstepError
from lockstep.commands.main import main
from project import Project
from state import catalog_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

on_18 = database18()
TABLE = """
CREATE TABLE account (id integer PRIMARY KEY, v integer);
INSERT INTO account SELECT n, n FROM generate_series(1, 9) n;
"""
ADD = "op.add_column('account', sa.Column('color', sa.Text()))\n"
DROP = "op.drop_column('account', 'color')"
COLORS = "SELECT id, color FROM account WHERE color <> 'blue' ORDER BY id"
WRITES = {
    "execute": "op.execute(\"UPDATE account SET color = 'blue'\")",
    "get_bind": "op.get_bind().execute(sa.text(\"UPDATE account SET color = 'blue'\"))",
    "row by row": "for n in range(1, 10):\n"
    "    op.get_bind().execute(sa.text(\"UPDATE account SET color = 'blue' WHERE id = :n\"), {'n': n})",
    "built at run time": "op.execute(\"DO $$BEGIN EXECUTE 'UPDATE account SET color = ''blue'''; END$$\")",
    "upsert": "op.execute(\"INSERT INTO account SELECT n, n, 'blue' FROM generate_series(1, 9) n \"\n"
    "    'ON CONFLICT (id) DO UPDATE SET color = excluded.color')",
    "backfill": "op.backfill('account', {'color': 'blue'}, where=\"color IS DISTINCT FROM 'blue'\")",
    "autocommit": "with op.get_context().autocommit_block():\n"
    "    op.execute(\"UPDATE account SET color = 'blue'\")",
    "savepoint": "with op.get_bind().begin_nested():\n"
    "    op.get_bind().execute(sa.text(\"UPDATE account SET color = 'blue'\"))",
    "renamed": "op.rename_table('account', 'person')\n"
    "op.execute(\"UPDATE person SET color = 'blue'\")\nop.rename_table('person', 'account')",
}


def _down(project: Project, cluster: Cluster, database: str) -> None:
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET color = 'red' WHERE id = 1")
        connection.execute("UPDATE account SET color = NULL WHERE id = 2")
    project.downgrade("base")


def _kept(cluster: Cluster, database: str) -> list[tuple[object, ...]]:
    with cluster.connect(database) as connection:
        return connection.execute(
            "SELECT state FROM lockstep.archive UNION ALL SELECT relname FROM pg_class "
            "WHERE relnamespace = 'lockstep_archive'::regnamespace UNION ALL SELECT tgname FROM pg_trigger "
            "WHERE NOT tgisinternal UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'guard%'"
        ).fetchall()


@pytest.mark.one_in(8)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "in steps"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_an_update_of_the_revisions_own_leaves_alone_what_was_given_back(
    write: str, cluster18: Cluster, on_18: str, tmp_path: Path, *, short_way: bool
) -> None:
    project = on_tables(cluster18, on_18, tmp_path, TABLE, short_way=short_way)
    project.revision(ADD + write, DROP)
    _down(project, cluster18, on_18)
    project.upgrade()
    with cluster18.connect(on_18) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "red")]
        assert connection.execute("SELECT count(*) FROM account WHERE color = 'blue'").fetchone() == (8,)
    assert _kept(cluster18, on_18) == []
    schema = catalog_of(cluster18, on_18)
    project.downgrade("base")
    project.upgrade()
    assert catalog_of(cluster18, on_18) == schema
    with cluster18.connect(on_18) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "red")]


#: What a fill sets size to, whether size is kept, what somebody has entered, and what is there in the end.
FILLS = {
    "one of them is kept": ("'big'", True, "color = 'red', size = NULL", ("red", "big")),
    "another is derived": ("'big'", False, "color = 'red'", ("red", "big")),
    "both are kept": ("'big'", True, "color = 'red', size = 'small'", ("red", "small")),
    "one is computed from the other": ("length(color)", True, "color = 'red', size = NULL", ("red", "3")),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("short_way", [True, False], ids=["together", "in steps"])
@pytest.mark.parametrize(("size", "kept", "entered", "ends"), FILLS.values(), ids=FILLS)
def test_a_fill_of_several_columns_ends_where_some_of_them_were_given_back(
    size: str,
    kept: bool,  # noqa: FBT001
    entered: str,
    ends: tuple[str, str],
    cluster18: Cluster,
    on_18: str,
    tmp_path: Path,
    *,
    short_way: bool,
) -> None:
    project = on_tables(cluster18, on_18, tmp_path, TABLE, short_way=short_way)
    drops = "op.drop_column('account', 'size')" if kept else "op.execute('ALTER TABLE account DROP size')"
    project.revision(
        f"{ADD}op.add_column('account', sa.Column('size', sa.Text()))\n{WRITES['execute']}\n"
        f"""op.backfill('account', {{'color': 'blue', 'size': sa.text("{size}")}},\n"""
        f"""    where="color IS DISTINCT FROM 'blue' OR size IS DISTINCT FROM ({size})::text")""",
        f"{drops}\n{DROP}",
    )
    project.upgrade()
    with cluster18.connect(on_18) as connection:
        connection.execute(f"UPDATE account SET {entered} WHERE id = 1")
    project.downgrade("base")
    project.upgrade()
    with cluster18.connect(on_18) as connection:
        assert connection.execute("SELECT color, size FROM account WHERE id = 1").fetchone() == ends
        others = connection.execute("SELECT DISTINCT color, length(size) > 0 FROM account WHERE id > 1")
        assert others.fetchall() == [("blue", True)]


STOP = f"{ADD}op.create_check_constraint('small', 'account', 'v < 10')\n{WRITES['execute']}"


def _stopped(cluster: Cluster, database: str, project: Project) -> None:
    """Half way: the values are given back, and somebody writes another one."""
    _down(project, cluster, database)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET v = 100 WHERE id = 3")
    with pytest.raises(Exception, match="small"):
        project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "red")]
        connection.execute("UPDATE account SET color = 'green' WHERE id = 1")
        connection.execute("UPDATE account SET v = 3, color = 'pink' WHERE id = 3")


def test_after_a_stop_the_newest_value_that_people_wrote_wins(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE, short_way=False)
    project.revision(STOP, f"op.drop_constraint('small', 'account')\n{DROP}")
    _stopped(cluster, database, project)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "green"), (3, "pink")]
    assert _kept(cluster, database) == []


def test_what_is_taken_back_half_way_is_kept_once_and_given_back(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE, short_way=False)
    project.revision(STOP, f"op.drop_constraint('small', 'account')\n{DROP}")
    _stopped(cluster, database, project)
    project.downgrade("base")
    assert [kept for kept in _kept(cluster, database) if kept == ("kept",)] == [("kept",)]
    assert ("keeping",) not in _kept(cluster, database)
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "green"), (3, "pink")]
    assert _kept(cluster, database) == []


def test_a_revision_that_is_abandoned_leaves_no_trigger_and_what_is_kept_comes_back_later(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE, short_way=False)
    project.revision(STOP, f"op.drop_constraint('small', 'account')\n{DROP}")
    _stopped(cluster, database, project)
    env = (project.folder / "env.py").read_text()
    (project.folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    assert CliRunner().invoke(main, ["abandon", "--yes", "-c", str(ini)]).exit_code == 0
    (project.folder / "env.py").write_text(env)
    assert [one for one in _kept(cluster, database) if "guard" in str(one)] == []
    with cluster.connect(database) as connection:
        connection.execute("ALTER TABLE account DROP COLUMN color, DROP CONSTRAINT IF EXISTS small")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute(COLORS).fetchall() == [(1, "red")]
    assert _kept(cluster, database) == []


def test_a_row_that_the_revision_deletes_and_inserts_again_gets_no_kept_value(
    cluster18: Cluster, on_18: str, tmp_path: Path
) -> None:
    project = on_tables(cluster18, on_18, tmp_path, TABLE)
    project.revision(f"{ADD}op.execute('DELETE FROM account; INSERT INTO account VALUES (1, 1)')", DROP)
    _down(project, cluster18, on_18)
    project.upgrade()
    with cluster18.connect(on_18) as connection:
        assert connection.execute("SELECT color FROM account").fetchall() == [(None,)]


@pytest.mark.parametrize("short_way", [True, False], ids=["together", "in steps"])
def test_so_it_is_for_an_ordinary_owner_with_triggers_and_a_text_key(
    cluster: Cluster, database: str, tmp_path: Path, *, short_way: bool
) -> None:
    role = f"owner_of_{database}"
    with cluster.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN; ALTER SCHEMA public OWNER TO {role}")
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
    url = cluster.url(database, "psycopg").replace("postgres@", f"{role}@")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TYPE sort AS ENUM ('a', 'b')")
        connection.execute("CREATE TABLE account (id sort, n integer, v integer, PRIMARY KEY (id, n))")
        connection.execute("INSERT INTO account VALUES ('a', 1, 0), ('b', 2, 0)")
        connection.execute(
            "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.v := NEW.v + 1; RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER seen BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION seen()"
        )
    project = Project(tmp_path / "project", url, short_way=short_way)
    project.revision(ADD + WRITES["execute"], DROP)
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET color = 'red' WHERE n = 2")
    project.downgrade("base")
    project.upgrade()
    with cluster.connect(database) as connection:
        found = connection.execute("SELECT n, color, v FROM account ORDER BY n").fetchall()
        connection.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")
    assert found == [(1, "blue", 2), (2, "red", 3)]


def test_a_column_that_the_revision_renames_keeps_what_was_given_back(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE)
    project.revision(
        f"{ADD}op.alter_column('account', 'color', new_column_name='hue')\n"
        "op.execute(\"UPDATE account SET hue = 'blue'\")",
        f"op.alter_column('account', 'hue', new_column_name='color')\n{DROP}",
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET hue = 'red' WHERE id = 1")
        before = connection.execute("SELECT * FROM account ORDER BY id").fetchall()
    project.downgrade("base")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT * FROM account ORDER BY id").fetchall() == before
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (0,)


def test_values_that_belong_to_another_column_of_that_name_are_not_given_to_this_one(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE)
    project.revision(
        f"{ADD}op.alter_column('account', 'color', new_column_name='hue')\n{ADD}",
        f"{DROP}\nop.drop_column('account', 'hue')",  # and not by its name of before
    )
    project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE account SET color = 'red', hue = 'dark' WHERE id = 1")
    project.downgrade("base")
    with pytest.raises(LockstepError, match="was given back to the column that is hue now"):
        project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM lockstep.archive").fetchone() == (2,)


def test_a_table_that_takes_the_name_of_a_new_one_is_in_use_as_before(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, TABLE)
    project.revision(
        "op.create_table('fresh', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.rename_table('fresh', 'first')\nop.rename_table('account', 'fresh')\n"
        "op.add_column('fresh', sa.Column('color', sa.Text()))\nop.execute('SELECT 1 / 0')"
    )
    with pytest.raises(sa.exc.DBAPIError):
        project.upgrade(short_way=False)
    project.downgrade("base")
    with cluster.connect(database) as connection:
        columns = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'account'::regclass AND attnum > 0 "
            "AND NOT attisdropped"
        ).fetchall()
    assert ("color",) not in columns
