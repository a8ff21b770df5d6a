"""What goes wrong around a command is one line that says what and what to do, and no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import made, revision, typed
from databases import database18

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

NOWHERE = "postgresql://someone:secret@127.0.0.1:1/nowhere"


database = database18()


def said(folder: Path, program: str, *arguments: str, **environment: str) -> str:
    """The one line that a command ends with, status and all."""
    status, output, errors = typed(folder, program, *arguments, **environment)
    assert status not in {0, 3}
    assert "Traceback" not in output + errors
    assert "secret" not in output + errors
    if program == "alembic":  # which breaks the line at the terminal's width
        return " ".join(output.partition("FAILED: ")[2].split())
    (line,) = (line for line in errors.splitlines() if not line.startswith("INFO"))  # env.py's own log
    assert not output
    return line


@pytest.mark.parametrize("command", [["status"], ["archive"], ["init"], ["resolve", "--done"]])
def test_in_a_folder_without_alembic(tmp_path: Path, command: list[str]) -> None:
    assert "no Alembic project here: neither alembic.ini nor" in said(tmp_path, "lockstep", *command)


def test_with_a_configuration_file_that_is_not_there(tmp_path: Path) -> None:
    assert said(tmp_path, "lockstep", "status", "-c", "x.ini") == "lockstep: there is no file x.ini"


def test_where_env_has_not_adopted_lockstep(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    typed(tmp_path, "alembic", "init", "migrations")
    line = said(tmp_path, "lockstep", "archive")
    assert "migrations/env.py" in line
    assert "does not call lockstep.run(); `lockstep init` puts it there" in line
    ini = tmp_path / "alembic.ini"
    ini.write_text(
        ini.read_text().replace("driver://user:pass@localhost/dbname", cluster18.url(database, "psycopg"))
    )
    assert said(tmp_path, "lockstep", "archive") == (
        "lockstep: migrations/env.py does not call lockstep.run(); "
        "`lockstep init` puts it there, or shows what to write"
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("import no_such_package", "env.py, line 6: ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "env.py, line 6: ZeroDivisionError: division by zero"),
        ("x = = 1", "env.py, line 6: invalid syntax"),
        ("raise SystemExit('set DATABASE_URL')", "env.py, line 6: SystemExit: set DATABASE_URL"),
        ("raise SystemExit", "env.py, line 6: SystemExit: "),
    ],
)
def test_where_env_raises(tmp_path: Path, before: str, expected: str) -> None:
    made(tmp_path, NOWHERE, before)
    assert said(tmp_path, "lockstep", "status").endswith(expected)


@pytest.mark.parametrize("program", [["lockstep", "status"], ["alembic", "upgrade", "head"]])
def test_without_a_server(tmp_path: Path, program: list[str]) -> None:
    made(tmp_path, NOWHERE)
    assert "cannot connect to postgresql+psycopg://someone:***@127.0.0.1:1/nowhere: " in said(
        tmp_path, *program
    )


@pytest.mark.parametrize("program", [["lockstep", "status"], ["alembic", "current"]])
def test_with_a_password_that_is_wrong(
    tmp_path: Path, cluster18: Cluster, database: str, program: list[str]
) -> None:
    hba = cluster18.data / "pg_hba.conf"
    before = hba.read_text()
    with cluster18.connect() as connection:
        connection.execute("CREATE ROLE someone LOGIN PASSWORD 'right'")
        hba.write_text(f"local all someone scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
    try:
        url = cluster18.url(database).replace("postgres@", "someone:secret@")
        made(tmp_path, url)
        assert 'password authentication failed for user "someone"' in said(tmp_path, *program)
    finally:
        hba.write_text(before)
        with cluster18.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DROP ROLE someone")


def test_a_syntax_error_in_a_revision(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    made(tmp_path, cluster18.url(database))
    revision(tmp_path, "r1", "op.execute('SELECT 1'")
    line = said(tmp_path, "alembic", "upgrade", "head")
    assert "r1.py, line 10: '(' was never closed" in line


def test_run_async_is_refused_with_what_to_write(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    made(tmp_path, cluster18.url(database))
    revision(tmp_path, "r1", "op.run_async(None)")
    line = said(tmp_path, "alembic", "upgrade", "head")
    assert "op.run_async() needs an asynchronous connection" in line
    assert "op.get_bind()" in line


def test_a_broken_constraint_ends_in_the_rows_that_break_it(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    made(tmp_path, cluster18.url(database))
    with cluster18.connect(database) as connection:
        connection.execute(
            "CREATE TABLE things AS SELECT n AS id, nullif(n, 77) AS a FROM generate_series(1, 99) n"
        )
    revision(tmp_path, "r1", "op.create_check_constraint('small', 'things', 'id <> 42')")
    line = said(tmp_path, "alembic", "upgrade", "head")
    assert 'check constraint "small" of relation "things" is violated by some row' in line
    assert "42" in line.partition("in the way")[2]
    revision(tmp_path, "r1", "op.alter_column('things', 'a', nullable=False)")
    typed(tmp_path, "alembic", "downgrade", "base")
    line = said(tmp_path, "alembic", "upgrade", "head")
    assert "77" in line.partition("in the way")[2]
    revision(tmp_path, "r1", "op.execute('SELECT 1 / 0')")
    typed(tmp_path, "alembic", "downgrade", "base")
    line = said(tmp_path, "alembic", "upgrade", "head")
    assert "division by zero" in line
    assert "In: SELECT 1 / 0" in line


def test_pyproject_is_read_as_alembic_reads_it(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    made(tmp_path, cluster18.url(database))
    (tmp_path / "alembic.ini").unlink()
    toml = tmp_path / "pyproject.toml"
    toml.write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
    assert typed(tmp_path, "lockstep", "status")[:2] == (0, "at base\nnothing is half done\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert typed(inner, "lockstep", "status", "-c", "../pyproject.toml")[0] == 0
    assert typed(inner, "lockstep", "status", ALEMBIC_CONFIG=str(toml))[0] == 0
    assert "no Alembic project here" in said(inner, "lockstep", "status")


def test_the_ini_section_is_chosen_as_alembic_does(tmp_path: Path, cluster18: Cluster, database: str) -> None:
    made(tmp_path, "")
    (tmp_path / "migrations" / "env.py").write_text("import lockstep\n\nlockstep.run()\n")
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\nscript_location = %(here)s/migrations\n"
        f"[live]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {cluster18.url(database)}\n"
    )
    assert typed(tmp_path, "lockstep", "status", "--name", "live")[0] == 0
    assert "lockstep.run() takes url=… or connection=…" in said(tmp_path, "lockstep", "status")
