"""What a person sees and can do when a revision stopped half way."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from cases import ROWS, SCHEMA
from databases import on_tables
from lockstep.commands.main import main
from lockstep.errors import CannotContinueError
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: posts.code is free: number 7 is in nobody's people.
UP = """
op.add_column('posts', sa.Column('person', sa.Integer()))
op.backfill('posts', {'person': sa.text('id')}, where='person IS NULL')
op.create_index('posts_person', 'posts', ['person'])
op.create_foreign_key('posts_person_fk', 'posts', 'people', ['person'], ['id'])
op.create_table('after', sa.Column('id', sa.Integer(), primary_key=True))
"""
DOWN = """
op.drop_table('after')
op.drop_constraint('posts_person_fk', 'posts')
op.drop_index('posts_person')
op.drop_column('posts', 'person')
"""


@pytest.fixture
def project(cluster: Cluster, database: str, tmp_path: Path) -> Project:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS, short_way=False)
    project.revision("op.create_table('before', sa.Column('id', sa.Integer(), primary_key=True))")
    project.upgrade()
    project.revision(UP, DOWN)
    return project


def fails(project: Project) -> None:
    with pytest.raises(DBAPIError, match="posts_person_fk"):
        project.upgrade()


def test_rows_at_fault_are_named(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    fails(project)
    named = [r.getMessage() for r in caplog.records if "this row is in the way" in r.getMessage()]
    people = [int(person) for person in re.findall(r'"person": (\d+)', " ".join(named))]
    assert len(people) == 5
    assert min(people) > 300


def test_after_the_rows_are_put_right_the_revision_goes_on(
    project: Project, cluster: Cluster, database: str
) -> None:
    fails(project)
    with cluster.connect(database) as connection:
        connection.execute("UPDATE posts SET person = NULL WHERE person > 300")
    path = project.folder / "versions" / "r2.py"
    path.write_text(path.read_text() + "\n# edited\n")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('after') IS NOT NULL").fetchone() == (True,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("r2",)


@pytest.mark.parametrize("target", ["r1", "-1"])
def test_a_downgrade_takes_the_half_done_revision_back(
    project: Project, cluster: Cluster, database: str, target: str
) -> None:
    catalog, rows = catalog_of(cluster, database), rows_of(cluster, database)
    fails(project)
    project.downgrade(target)
    assert catalog_of(cluster, database) == catalog
    assert rows_of(cluster, database) == rows


def test_what_is_half_done_is_told(
    project: Project, cluster: Cluster, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fails(project)
    caplog.set_level(logging.INFO)
    caplog.clear()
    command.current(project.config())
    assert "the upgrade of revision r2 is half done" in caplog.text

    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {tmp_path / 'other'}\n")
    (tmp_path / "other" / "versions").mkdir(parents=True)
    (tmp_path / "other" / "env.py").write_text(
        f"import lockstep\nlockstep.run(url={cluster.url(database, 'psycopg')!r})\n"
    )
    for file in (project.folder / "versions").glob("*.py"):
        (tmp_path / "other" / "versions" / file.name).write_text(file.read_text())
    shown = CliRunner().invoke(main, ["status", "-c", str(ini), "--json"])
    assert shown.exit_code == 3
    told = json.loads(shown.stdout)
    assert told["heads"] == ["r1"]
    assert told["half_done"][0]["revision"] == "r2"
    assert "posts_person_fk" in told["half_done"][0]["error"]
    project.downgrade("r1")
    shown = CliRunner().invoke(main, ["status", "-c", str(ini)])
    assert shown.exit_code == 0
    assert "nothing is half done" in shown.stdout
    shown = CliRunner().invoke(main, ["archive", "-c", str(ini)])
    assert "nothing is kept" in shown.stdout


def test_the_archive_is_listed_and_purged_after_asking(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    with cluster.connect(database) as connection:
        connection.execute(SCHEMA + ROWS)
    folder = tmp_path / "project"
    project = Project(folder, cluster.url(database, "psycopg"))
    project.revision(
        "op.create_table('tags', sa.Column('id', sa.Integer(), primary_key=True))\n"
        "op.execute('INSERT INTO tags SELECT generate_series(1, 10)')",
        "op.drop_table('tags')",
    )
    project.upgrade()
    project.downgrade("base")
    (folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {folder}\n")
    listed = CliRunner().invoke(main, ["archive", "-c", str(ini), "--json"])
    assert [(one["what"], one["rows"], one["state"]) for one in json.loads(listed.stdout)] == [
        ("tags", 10, "kept")
    ]
    refused = CliRunner().invoke(main, ["archive", "purge", "-c", str(ini)], input="n\n")
    assert refused.exit_code == 1
    assert (
        "nothing to remove"
        in CliRunner().invoke(main, ["archive", "purge", "-c", str(ini), "--older-than", "1h"]).stdout
    )
    assert "removed 1" in CliRunner().invoke(main, ["archive", "purge", "-c", str(ini)], input="y\n").stdout
    with cluster.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'lockstep_archive'::regnamespace"
        ).fetchone() == (0,)


def test_writes_of_the_revisions_own_code_are_not_run_twice(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    project = on_tables(cluster, database, tmp_path, SCHEMA + ROWS, short_way=False)
    project.revision(
        "bind = op.get_bind()\n"
        "new = bind.execute(sa.text(\"INSERT INTO kept (label) VALUES ('once') RETURNING id\")).scalar()\n"
        "seen = bind.execute(sa.text('SELECT count(*) FROM kept')).scalar()\n"
        "op.add_column('loose', sa.Column('d', sa.Integer()))\n"
        "bind.execute(sa.text('INSERT INTO loose (a, b) VALUES (:a, :b)'), {'a': new, 'b': seen})\n"
        "op.create_check_constraint('loose_a', 'loose', 'a < 400')\n"
    )
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("INSERT INTO kept (label) VALUES ('meanwhile')")
        connection.execute("DELETE FROM loose WHERE a >= 400")
    project.upgrade()
    with cluster.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM kept WHERE label = 'once'").fetchone() == (1,)
        assert connection.execute("SELECT a, b FROM loose WHERE c IS NULL").fetchall() == [(51, 51)]


def test_a_revision_reads_rows_bit_by_bit_and_goes_on_after_a_stop(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    with cluster.connect(database) as connection:
        connection.execute(SCHEMA + ROWS)
        connection.execute("ALTER TABLE kept ADD COLUMN length int")
    project = Project(tmp_path / "project", cluster.url(database, "psycopg"), short_way=False)
    project.revision(
        "bind = op.get_bind()\n"
        "unread = sa.text('SELECT id, label FROM kept WHERE length IS NULL')\n"
        "for row in bind.execute(unread, execution_options={'yield_per': 7}):\n"
        "    change = sa.text('UPDATE kept SET length = coalesce(length, 0) + :n WHERE id = :id')\n"
        "    bind.execute(change, {'n': len(row.label), 'id': row.id})\n"
        "op.add_column('loose', sa.Column('d', sa.Integer()))\n"
        "op.create_check_constraint('loose_a', 'loose', 'a < 400')\n"
    )
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("DELETE FROM loose WHERE a >= 400")
    project.upgrade()
    with cluster.connect(database) as connection:
        wrong = connection.execute("SELECT count(*) FROM kept WHERE length IS DISTINCT FROM length(label)")
        assert wrong.fetchone() == (0,)


def test_an_error_is_told_though_the_revision_has_rolled_back_before_it_raised(project: Project) -> None:
    project.revision(
        "from sqlalchemy.orm import Session\n"
        "session = Session(bind=op.get_bind())\n"
        "try:\n"
        "    session.execute(sa.text('SELECT nothing FROM nowhere'))\n"
        "except sa.exc.SQLAlchemyError:\n"
        "    session.rollback()\n"
        "    raise\n",
        down="r1",
    )
    with pytest.raises(DBAPIError, match="nowhere"):
        project.upgrade("r3")


def test_a_statement_outside_of_transactions_is_asked_about(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    with cluster.connect(database) as connection:
        connection.execute(SCHEMA + ROWS)
    folder = tmp_path / "project"
    project = Project(folder, cluster.url(database, "psycopg"))
    project.revision(
        "with op.get_context().autocommit_block():\n    op.execute('VACUUM posts')\n"
        "op.create_check_constraint('loose_a', 'loose', 'a < 400')\n"
    )
    with pytest.raises(DBAPIError, match="loose_a"):
        project.upgrade()
    with cluster.connect(database) as connection:
        connection.execute("UPDATE lockstep.operation SET done = 0 WHERE says LIKE '%VACUUM%'")
        connection.execute("DELETE FROM loose WHERE a >= 400")
    with pytest.raises(CannotContinueError, match="lockstep resolve"):
        project.upgrade()
    (folder / "env.py").write_text(f"import lockstep\nlockstep.run(url={project.url!r})\n")
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {folder}\n")
    assert "will be run again" in CliRunner().invoke(main, ["resolve", "--again", "-c", str(ini)]).stdout
    project.upgrade()
