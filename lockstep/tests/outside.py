"""Projects in which something is wrong, as those have them who know the documentation alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import alembic

import unusual
from command_line import revision

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.cluster import Cluster

_TEMPLATES = Path(alembic.__file__).parent / "templates"

ADOPTED = """
import lockstep
from alembic import context

lockstep.run(url=context.config.get_main_option("sqlalchemy.url"))
"""


@dataclass
class Place:
    """A project's folder, and the database that it is for."""

    folder: Path
    cluster: Cluster
    database: str

    def url(self, user: str = "postgres", database: str | None = None) -> str:
        url = self.cluster.url(database or self.database, "psycopg")
        return url.replace("postgres@", f"{user}@")

    def ini(self, url: str, more: str = "") -> None:
        self.write("alembic.ini", "[alembic]\nscript_location = %(here)s/migrations\nprepend_sys_path = .\n"
                   "path_separator = os\n"
                   f"sqlalchemy.url = {url}\n{more}")  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def env(self, old: str, new: str) -> None:
        path = self.folder / "migrations" / "env.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def sql(self, statement: str) -> None:
        with self.cluster.connect(self.database) as connection:
            connection.execute(statement)

    def stamp(self, *revisions: str) -> None:
        self.sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num text PRIMARY KEY)")
        for one in revisions:
            self.sql(f"INSERT INTO alembic_version VALUES ('{one}')")

    def template(self, name: str) -> None:
        shutil.copy(_TEMPLATES / name / "env.py", self.folder / "migrations" / "env.py")
        self.env("fileConfig(config.config_file_name)", "pass")


def well(place: Place, *, adopted: bool) -> None:
    """A project of two revisions, of which the database has had the first."""
    place.write("migrations/versions/.keep", "")
    place.ini(place.url())
    if adopted:
        place.write("migrations/env.py", ADOPTED)
    else:
        place.template("generic")
    revision(place.folder, "r1", "op.create_table('posts', sa.Column('id', sa.Integer()))", None,
             "op.drop_table('posts')")  # fmt: skip
    revision(place.folder, "r2", "op.add_column('posts', sa.Column('title', sa.Text()))", "r1",
             "op.drop_column('posts', 'title')")  # fmt: skip
    place.sql("CREATE TABLE posts (id integer)")
    place.stamp("r1")


def no_database(place: Place) -> None:
    place.ini(place.url(database="nowhere"))


def no_server(place: Place) -> None:
    place.ini("postgresql+psycopg://someone:secret@127.0.0.1:1/nowhere")


def unknown_host(place: Place) -> None:
    place.ini("postgresql+psycopg://someone:secret@no-such-host.invalid/nowhere")


def wrong_password(place: Place) -> None:
    place.ini(place.url("asker:se%%25cret%%40x"))


def a_bare_percent(place: Place) -> None:
    place.ini(place.url("asker:se%cret"))


def a_bare_at(place: Place) -> None:
    place.ini("postgresql+psycopg://asker:secret@x@127.0.0.1:1/nowhere")


def no_url(place: Place) -> None:
    place.ini("")


def no_url_at_all(place: Place) -> None:
    place.ini("driver://user:pass@localhost/dbname")


def sqlite(place: Place) -> None:
    place.ini("sqlite://")


def mysql(place: Place) -> None:
    place.ini("mysql+nodriver://someone:secret@127.0.0.1/x")


def may_only_read(place: Place) -> None:
    place.ini(place.url("onlooker"))


def may_not_even_read(place: Place) -> None:
    place.ini(place.url("stranger"))


def syntax_error(place: Place) -> None:
    place.write("migrations/versions/r2.py", "def def\n")


def revision_that_exits(place: Place) -> None:
    place.write("migrations/versions/r2.py", "import sys\nsys.exit(1)\n")


def revision_that_fails(place: Place) -> None:
    revision(place.folder, "r2", "op.execute('SELECT 1 / 0')", "r1")


def revision_whose_code_raises(place: Place) -> None:
    revision(place.folder, "r2", "{}['nothing']", "r1")


def env_raises(place: Place) -> None:
    place.env("from alembic import context", "from alembic import context\nraise RuntimeError('no\\nway')")


def env_exits(place: Place) -> None:
    place.env("from alembic import context", "import sys\nsys.exit('set DATABASE_URL')")


def env_wants_a_variable(place: Place) -> None:
    place.env("from alembic import context", "import os\nfrom alembic import context\nos.environ['NO_SUCH']")


def env_imports_nothing(place: Place) -> None:
    place.env("from alembic import context", "from alembic import context\nimport no_such_package")


def env_is_broken(place: Place) -> None:
    place.write("migrations/env.py", "x = = 1\n")


def env_does_nothing(place: Place) -> None:
    place.write("migrations/env.py", "import lockstep\n")


def no_env(place: Place) -> None:
    (place.folder / "migrations" / "env.py").unlink()


def no_ini(place: Place) -> None:
    (place.folder / "alembic.ini").unlink()


def broken_ini(place: Place) -> None:
    place.write("alembic.ini", "[alembic\nscript_location\n")


def ini_that_cannot_be_read(place: Place) -> None:
    no_ini(place)
    (place.folder / "alembic.ini").mkdir()  # root may read any file


def ini_in_another_encoding(place: Place) -> None:
    (place.folder / "alembic.ini").write_bytes(b"[alembic]\n# caf\xe9\nscript_location = migrations\n")


def ini_without_location(place: Place) -> None:
    place.write("alembic.ini", "[alembic]\nsqlalchemy.url = x\n")


def no_such_location(place: Place) -> None:
    place.write("alembic.ini", "[alembic]\nscript_location = %(here)s/elsewhere\n")


def broken_pyproject(place: Place) -> None:
    place.write("pyproject.toml", "[tool.alembic\nx = \n")


def several_heads(place: Place) -> None:
    revision(place.folder, "r3", "op.create_table('tags', sa.Column('id', sa.Integer()))", "r1",
             "op.drop_table('tags')")  # fmt: skip


def at_several_heads(place: Place) -> None:
    several_heads(place)
    place.sql("DELETE FROM alembic_version")
    place.stamp("r2", "r3")


def unknown_revision(place: Place) -> None:
    place.sql("DELETE FROM alembic_version")
    place.stamp("8c82b1632f52")


def missing_parent(place: Place) -> None:
    (place.folder / "migrations" / "versions" / "r1.py").unlink()


def a_circle(place: Place) -> None:
    revision(place.folder, "r1", "pass", "r2")


def same_revision_twice(place: Place) -> None:
    text = (place.folder / "migrations" / "versions" / "r2.py").read_text()
    place.write("migrations/versions/copy.py", text)


def no_revisions(place: Place) -> None:
    for path in (place.folder / "migrations" / "versions").glob("*.py"):
        path.unlink()
    place.sql("DELETE FROM alembic_version")


def no_versions_folder(place: Place) -> None:
    no_revisions(place)
    shutil.rmtree(place.folder / "migrations" / "versions")


CONNECTING = "plan", "verify", "adopt", "status", "show", "diff head", "history", "check", "doctor"
_READING_FILES = "plan", "adopt", "status", "diff head", "history", "check"

#: What is done to a project that is well, the commands that then cannot do their work, and a pattern of the
#: line that they say.
FAULTS: dict[Callable[[Place], None], tuple[tuple[str, ...], str]] = {
    no_database: (CONNECTING, 'database "nowhere" does not exist: create it, or mend the URL'),
    no_server: (CONNECTING, "Connection refused: is the server running, and the URL its?"),
    unknown_host: (CONNECTING, "no-such-host.invalid.*: mend the host in the URL"),
    wrong_password: (CONNECTING, 'authentication failed for user "asker": mend user and password in the URL'),
    a_bare_percent: (CONNECTING, "InterpolationSyntaxError.*: % is %% in an ini file"),
    a_bare_at: (CONNECTING, r"'\*\*\*@127.0.0.1'.*an @ in a password is %40"),
    no_url: (CONNECTING, "URL (string|cannot be read).*should be like postgresql"),
    no_url_at_all: (CONNECTING, "should be like postgresql|Lockstep is for PostgreSQL; the URL names driver"),
    sqlite: (CONNECTING, "Lockstep is for PostgreSQL; .* sqlite"),
    mysql: (CONNECTING, "should be like postgresql|Lockstep is for PostgreSQL; the URL names mysql"),
    may_only_read: (("plan", "check"), "pip install 'alembic-lockstep.embedded.', name another server's"),
    may_not_even_read: (CONNECTING, "permission denied for table alembic_version: GRANT SELECT on it"),
    syntax_error: (_READING_FILES, "migrations/versions/r2.py, line 1: invalid syntax"),
    revision_that_exits: (_READING_FILES, "migrations/versions/r2.py, line 2: SystemExit: 1"),
    revision_that_fails: (("plan", "check"), "revision r2.*DivisionByZero: division by zero"),
    revision_whose_code_raises: (("plan", "check"), "revision r2.*r2.py, line 10: KeyError: 'nothing'"),
    env_raises: (CONNECTING, r"migrations/env.py, line \d: RuntimeError: no$"),
    env_exits: (CONNECTING, r"migrations/env.py, line \d: SystemExit: set DATABASE_URL"),
    env_wants_a_variable: (CONNECTING, r"migrations/env.py, line \d: KeyError: 'NO_SUCH'"),
    env_imports_nothing: (CONNECTING, "No module named 'no_such_package'"),
    env_is_broken: (CONNECTING, "migrations/env.py, line 1: invalid syntax"),
    env_does_nothing: (CONNECTING, "migrations/env.py does not call context.run_migrations"),
    no_env: (CONNECTING, "there is no migrations/env.py; `alembic init` makes one"),
    no_ini: (CONNECTING, "no Alembic project here: .*change to the project's folder"),
    broken_ini: (CONNECTING, "alembic.ini cannot be read: File contains no section headers"),
    ini_that_cannot_be_read: (CONNECTING, "alembic.ini cannot be read: Is a directory: name another"),
    ini_in_another_encoding: (CONNECTING, "alembic.ini cannot be read: 'utf-8' codec.*: save it as UTF-8"),
    broken_pyproject: (CONNECTING, "pyproject.toml cannot be read: Expected"),
    ini_without_location: (CONNECTING, "no Alembic project here"),
    no_such_location: (CONNECTING, "Path doesn't exist: .*elsewhere"),
    several_heads: (("plan", "diff head"), "Multiple head revisions are present.*: `lockstep rebase`"),
    at_several_heads: (("plan", "diff head", "verify"), "Multiple head revisions|r3 has no snapshot"),
    unknown_revision: (
        ("plan", "verify"),
        "no file here is of revision 8c82b1632f52: `lockstep doctor`",
    ),
    missing_parent: (_READING_FILES, "Revision r1 referenced from .*: put its file back"),
    a_circle: (_READING_FILES, r"Cycle is detected in revisions \(r1, r2\).*: mend the down_revision"),
    same_revision_twice: (_READING_FILES, "Revision r2 is present more than once: give one of the files"),
    no_revisions: (("verify", "adopt", "diff head"), "at no revision|no snapshots|is no revision"),
    no_versions_folder: (("verify", "adopt", "diff head"), "at no revision|no snapshots|is no revision"),
    unusual.asynchronous: ((), ""),
    unusual.asynchronous_over_psycopg: ((), ""),
    unusual.models_of_sqlmodel: ((), ""),
    unusual.several_schemas: ((), ""),
    unusual.url_of_settings: ((), ""),
    unusual.url_of_environment: ((), ""),
    unusual.configured_in_pyproject: ((), ""),
    unusual.nothing: ((), ""),
}

#: Those that are about what an env.py of Alembic's own template has.
OF_THE_TEMPLATE = {
    unusual.asynchronous,
    unusual.asynchronous_over_psycopg,
    unusual.models_of_sqlmodel,
    unusual.several_schemas,
}
