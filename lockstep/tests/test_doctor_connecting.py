"""``lockstep doctor`` where nobody gets as far as the database; and what it never does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_line import typed
from databases import database18
from ill_project import CREATES_POSTS, Ill

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

pytestmark = pytest.mark.one_in(3)

database = database18()


@pytest.fixture
def ill(tmp_path: Path, cluster18: Cluster, database: str) -> Ill:
    """The project, at its head."""
    ill = Ill(tmp_path, cluster18, database)
    ill.revision("r1", CREATES_POSTS)
    return ill


def test_a_module_of_the_project_that_python_does_not_find(ill: Ill) -> None:
    ill.edit("alembic.ini", "prepend_sys_path = .\n", "")
    errors = ill.fails("upgrade", "head")
    assert "ModuleNotFoundError: No module named 'app'" in errors
    said = ill.only("module-not-found")
    assert said == ill.only("module-not-found", errors)
    assert said.where == "in alembic.ini, under [alembic]"
    ill.edit("alembic.ini", "[alembic]\n", f"[alembic]\n{said.cure}\n")
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_a_module_below_src_in_a_project_configured_by_pyproject(ill: Ill) -> None:
    (ill.folder / "src").mkdir()
    (ill.folder / "app").rename(ill.folder / "src" / "app")
    (ill.folder / "alembic.ini").unlink()
    ill.write("pyproject.toml", '[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
    ill.write("migrations/env.py", "import sqlalchemy as sa\nfrom alembic import context\n"
              "from app.models import Base\n\n"
              f'with sa.create_engine("{ill.url}").connect() as connection:\n'
              "    context.configure(connection=connection, target_metadata=Base.metadata)\n"
              "    with context.begin_transaction():\n        context.run_migrations()\n")  # fmt: skip
    assert "No module named 'app'" in ill.fails("upgrade", "head")
    said = ill.only("module-not-found")
    assert said.where == "in pyproject.toml, under [tool.alembic]"
    ill.edit("pyproject.toml", "[tool.alembic]\n", f"[tool.alembic]\n{said.cure}\n")
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_a_package_that_is_not_installed(ill: Ill) -> None:
    ill.edit("alembic.ini", "+psycopg:", "+pg8000:")
    assert "No module named 'pg8000'" in ill.fails("upgrade", "head")
    said = ill.only("module-not-found")
    assert said.cure == "pip install pg8000"
    assert ill.only("module-not-found", "No module named 'jose'").cure == "pip install python-jose"


@pytest.mark.parametrize(("password", "meant"), [("pa%ss", "pa%25ss"), ("pa%40ss", "pa%40ss")])
def test_a_percent_sign_in_the_ini_file(ill: Ill, password: str, meant: str) -> None:
    ill.edit("alembic.ini", "postgres@", f"postgres:{password}@")
    errors = ill.fails("upgrade", "head")
    assert "'%' must be followed by '%' or '('" in errors
    said = ill.only("password-in-url")
    assert said == ill.only("password-in-url", errors)
    assert said.where == "in alembic.ini, line 4, in the password of sqlalchemy.url, in place of each %"
    ill.edit("alembic.ini", password, password.replace("%", said.cure))
    assert meant.replace("%", "%%") in (ill.folder / "alembic.ini").read_text()
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_a_percent_sign_in_a_url_that_env_sets(ill: Ill) -> None:
    ill.edit("alembic.ini", "sqlalchemy.url", "# sqlalchemy.url")
    url = ill.url.replace("postgres@", "postgres:pa%40ss@")
    ill.edit("migrations/env.py", "config = context.config\n",
             'import os\n\nconfig = context.config\n'
        'config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])\n')  # fmt: skip
    errors = ill.fails("upgrade", "head", DATABASE_URL=url)
    assert "invalid interpolation syntax in" in errors
    said = ill.only("password-in-url", DATABASE_URL=url)
    assert said == ill.only("password-in-url", errors)
    ill.line("migrations/env.py", said.where, said.cure)
    ill.alembic("upgrade", "head", DATABASE_URL=url)
    assert ill.doctor(DATABASE_URL=url) == {}


def test_an_at_sign_in_the_password(ill: Ill) -> None:
    host = str(ill.cluster.folder)
    ill.edit("alembic.ini", ill.url, f"postgresql+psycopg://postgres:pa@ss@/{ill.database}")
    errors = ill.fails("upgrade", "head", PGHOST=host)
    assert "failed to resolve host 'ss@'" in errors
    said = ill.only("password-in-url", PGHOST=host)
    ill.edit("alembic.ini", "pa@ss", f"pa{said.cure}ss")
    ill.alembic("upgrade", "head", PGHOST=host)
    assert ill.doctor(PGHOST=host) == {}
    assert ill.only("password-in-url", errors).cure == "%40"


def test_a_url_of_asyncpg_in_an_env_without_asyncio(ill: Ill) -> None:
    ill.edit("alembic.ini", "+psycopg:", "+asyncpg:")
    errors = ill.fails("upgrade", "head")
    assert "MissingGreenlet" in errors
    said = ill.only("asyncpg-in-env")
    assert said == ill.only("asyncpg-in-env", errors)
    assert said.where == "in alembic.ini, line 4, in place of +asyncpg"
    ill.edit("alembic.ini", "+asyncpg", said.cure)
    ill.alembic("upgrade", "head")
    assert ill.doctor() == {}


def test_a_program_that_runs_alembic_inside_its_event_loop(
    tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    ill = Ill(tmp_path, cluster18, database, template="async")
    ill.edit("alembic.ini", "+psycopg:", "+asyncpg:")
    ill.revision("r1", CREATES_POSTS)
    ill.write("app/main.py", "from alembic import command\nfrom alembic.config import Config\n\n\n"
              "async def start():\n"
              '    config = Config("alembic.ini")\n    command.upgrade(config, "head")\n')  # fmt: skip

    def starts() -> str:
        program = "import asyncio\nfrom app.main import start\nasyncio.run(start())"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stderr

    errors = starts()
    assert "asyncio.run() cannot be called from a running event loop" in errors
    said = ill.only("running-loop")
    assert said == ill.only("running-loop", errors)
    ill.line("app/main.py", said.where, said.cure)
    ill.edit("app/main.py", "from alembic import command", "import asyncio\n\nfrom alembic import command")
    assert "Error" not in starts()
    assert ill.doctor() == {}


_HASHES = 'from passlib.context import CryptContext\n\nprint(CryptContext(schemes=["bcrypt"]).hash("x"))\n'


def _hash(ill: Ill, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "app/hashing.py"],
        cwd=ill.folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_passlib_with_a_bcrypt_that_it_does_not_know(ill: Ill) -> None:
    ill.alembic("upgrade", "head")
    ill.write("app/hashing.py", _HASHES)
    errors = _hash(ill)
    assert "module 'bcrypt' has no attribute '__about__'" in errors
    assert "password cannot be longer than 72 bytes" in errors
    said = ill.only("passlib-with-bcrypt")
    assert said == ill.only("passlib-with-bcrypt", errors)
    assert said.cure == 'pip install "bcrypt==4.0.1"'


@pytest.mark.prove
def test_passlib_hashes_with_the_bcrypt_that_the_doctor_names(ill: Ill, tmp_path: Path) -> None:
    ill.alembic("upgrade", "head")
    ill.write("app/hashing.py", _HASHES)
    arguments = ill.only("passlib-with-bcrypt").cure.replace('"', "").split()[1:]
    subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--target", tmp_path / "old"],
        check=True,
        capture_output=True,
    )
    assert _hash(ill, PYTHONPATH=str(tmp_path / "old")).startswith("$2b$")


# What it never does


def test_it_reads_errors_from_standard_input(ill: Ill) -> None:
    errors = ill.fails("revision", "--autogenerate", "-m", "more")
    done = subprocess.run(
        [sys.executable, "-c", "from lockstep.commands.main import main; main()", "doctor", "-"],
        cwd=ill.folder, input=errors, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "not-up-to-date: the database is at no revision yet, 1 revision behind r1",
        "    type:",
        "        alembic upgrade head",
    ]


def test_no_password_is_printed(ill: Ill) -> None:
    """Not of a URL that is wrong, nor of one that fails, nor of errors that hold one."""
    for url in (
        "postgresql+psycopg://postgres:sec%ret@/x",
        "postgresql+psycopg://postgres:sec@ret@localhost/x",
        "postgresql+psycopg://postgres:sec%%40ret@127.0.0.1:1/x",
        "postgresql+psycopg://postgres:secret@nowhere.invalid/x",
        "postgresql+psycopg://postgres:sec/ret@localhost/x",
    ):
        old = (ill.folder / "alembic.ini").read_text()
        ill.edit("alembic.ini", ill.url, url)
        errors = ill.fails("upgrade", "head")
        (ill.folder / "errors.txt").write_text(errors)
        for arguments in (["doctor"], ["doctor", "--json"], ["doctor", "errors.txt"]):
            status, output, said = typed(ill.folder, "lockstep", *arguments)
            assert status in {1, 2}
            for part in ("sec%ret", "sec@ret", "ret@", "%ret", "secret", "sec%40", "sec/", "/ret"):
                assert part not in output + said, (url, output, said)
            assert "Traceback" not in output + said
        ill.write("alembic.ini", old)


def test_it_needs_to_read_alone_and_changes_nothing(ill: Ill) -> None:
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, 'x')")
    ill.revision("r2", "op.add_column('posts', sa.Column('content', sa.String(), nullable=False))", down="r1")
    ill.sql("DROP ROLE IF EXISTS doctor_reads; CREATE ROLE doctor_reads LOGIN IN ROLE pg_read_all_data")
    ill.edit("alembic.ini", "postgres@", "doctor_reads@")
    before = ill.cluster.dump_schema(ill.database, exclude_schemas=())
    assert set(ill.doctor()) == {"nulls-under-not-null", "not-up-to-date"}
    assert ill.unseen == []
    assert ill.cluster.dump_schema(ill.database, exclude_schemas=()) == before
    ill.sql("DROP ROLE doctor_reads")


def test_a_database_that_alembic_has_never_seen_is_left_as_it_is(ill: Ill) -> None:
    assert set(ill.doctor()) == {"not-up-to-date"}
    assert ill.sql("SELECT to_regclass('alembic_version')") == [(None,)]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            "raise RuntimeError('of theirs')",
            "migrations/env.py, line 1: RuntimeError: of theirs",
        ),
        ("x = = 1", "line 1: invalid syntax"),
        ("pass", "could not look: env.py does not call context.run_migrations()"),
    ],
)
def test_what_it_cannot_look_at_is_one_line_and_exit_status_2(ill: Ill, env: str, expected: str) -> None:
    ill.write("migrations/env.py", env)
    status, output, errors = typed(ill.folder, "lockstep", "doctor")
    assert (status, output) == (2, "")
    assert errors.strip().endswith(expected)
    assert len(errors.strip().splitlines()) == 1


def test_where_there_is_no_project(tmp_path: Path) -> None:
    status, output, errors = typed(tmp_path, "lockstep", "doctor")
    assert (status, output) == (2, "")
    assert "no Alembic project here" in errors
    assert typed(tmp_path, "lockstep", "doctor", "no-such-file")[0] == 2


def test_a_server_that_is_away_leaves_what_the_files_show(ill: Ill) -> None:
    ill.edit("alembic.ini", ill.url, "postgresql+psycopg://postgres@127.0.0.1:1/x")
    for name in ("r2", "r3"):
        ill.revision(name, "pass", down="r1")
    status, output, errors = typed(ill.folder, "lockstep", "doctor", "--json")
    assert status == 1
    told = json.loads(output)
    assert [one["symptom"] for one in told["found"]] == ["multiple-heads"]
    assert "connection" in told["not_looked_at"][0]
    assert errors == ""


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_it_looks_over_other_drivers(tmp_path: Path, cluster18: Cluster, database: str, driver: str) -> None:
    ill = Ill(tmp_path, cluster18, database, template="async" if driver == "asyncpg" else "generic")
    ill.revision("r1", CREATES_POSTS)
    ill.alembic("upgrade", "head")
    ill.sql("INSERT INTO posts VALUES (1, 'x')")
    ill.edit("alembic.ini", "+psycopg:", f"+{driver}:")
    ill.revision("r2", "op.add_column('posts', sa.Column('content', sa.String(), nullable=False))", down="r1")
    assert set(ill.doctor()) == {"nulls-under-not-null", "not-up-to-date"}
    assert ill.unseen == []


def test_it_looks_over_a_connection_in_autocommit_mode(ill: Ill) -> None:
    ill.alembic("upgrade", "head")
    ill.edit("migrations/env.py", "with connectable.connect() as connection:",
             "with connectable.execution_options(\n"
             "        isolation_level='AUTOCOMMIT').connect() as connection:")  # fmt: skip
    assert ill.doctor() == {}
    assert ill.unseen == []
