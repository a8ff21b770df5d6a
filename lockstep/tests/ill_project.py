"""A small project that has never heard of Lockstep, and what the doctor says of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import alembic
import asyncpg
import sqlalchemy.dialects.postgresql.asyncpg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.ext.asyncio
import sqlalchemy.orm
import sqlmodel

from command_line import typed

if TYPE_CHECKING:
    from testing.cluster import Cluster

#: Imported here once, and not by each command anew.
BEFOREHAND = (asyncpg, sqlalchemy, sqlmodel)

_TEMPLATES = Path(alembic.__file__).parent / "templates"

BASE = """
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass
"""

POST = """
import sqlalchemy as sa

from app.database import Base


class Post(Base):
    __tablename__ = "posts"

    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String, nullable=False)
"""

REVISION = '''"""{name}"""

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = {down}
branch_labels = None
depends_on = None


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
'''

CREATES_POSTS = """op.create_table(
        "posts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("title", sa.String(), nullable=False),
    )"""


class Said(NamedTuple):
    """What the doctor says of one symptom."""

    what: str
    cure: str
    where: str


class Ill:
    """A project of Alembic's template, and a package app with a model, which env.py imports."""

    def __init__(self, folder: Path, cluster: Cluster, database: str, *, template: str = "generic") -> None:
        self.folder, self.cluster, self.database = folder, cluster, database
        self.url = cluster.url(database, "psycopg")
        made = _TEMPLATES / template
        logging = (made / "alembic.ini.mako").read_text()
        logging = logging[logging.index("[loggers]") :]
        (folder / "migrations" / "versions").mkdir(parents=True)
        for name in ("env.py", "script.py.mako"):
            shutil.copy(made / name, folder / "migrations" / name)
        self.write("alembic.ini", "[alembic]\nscript_location = %(here)s/migrations\nprepend_sys_path = .\n"
                   f"sqlalchemy.url = {self.url}\n\n{logging}")  # fmt: skip
        self.write("app/__init__.py", "")
        self.write("app/database.py", BASE)
        self.write("app/models.py", POST)
        self.edit("migrations/env.py", "target_metadata = None", "from app.models import Base\n\n"
                  "target_metadata = Base.metadata")  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text, text
        self.write(name, text.replace(old, new))

    def revision(self, name: str, upgrade: str, downgrade: str = "pass", down: str | None = None) -> str:
        """Write a revision file; its name within the project."""
        path = f"migrations/versions/{name}.py"
        quoted = f'"{down}"' if down else None
        self.write(path, REVISION.format(name=name, down=quoted, upgrade=upgrade, downgrade=downgrade))
        return path

    def alembic(self, *arguments: str, **environment: str) -> str:
        """What plain alembic says, which works."""
        status, output, errors = typed(self.folder, "alembic", *arguments, **environment)
        assert status == 0, output + errors
        return output + errors

    def fails(self, *arguments: str, **environment: str) -> str:
        """What plain alembic says, which fails."""
        status, output, errors = typed(self.folder, "alembic", *arguments, **environment)
        assert status != 0
        return output + errors

    def doctor(self, errors: str | None = None, **environment: str) -> dict[str, list[Said]]:
        """What the doctor says, by symptom."""
        arguments = ["doctor", "--json"]
        if errors is not None:
            self.write("errors.txt", errors)
            arguments.append("errors.txt")
        status, output, said = typed(self.folder, "lockstep", *arguments, **environment)
        assert "Traceback" not in output + said
        assert output.startswith("{"), said
        told = json.loads(output)
        assert status == (1 if told["found"] else 2 if told["not_looked_at"] else 0), said
        self.unseen = told["not_looked_at"]
        found: dict[str, list[Said]] = {}
        for one in told["found"]:
            found.setdefault(one["symptom"], []).append(Said(one["what"], one["cure"], one["where"]))
        return found

    def only(self, symptom: str, errors: str | None = None, **environment: str) -> Said:
        """The one thing that the doctor says of a symptom."""
        said = self.doctor(errors, **environment)
        assert len(said.get(symptom, [])) == 1, (said, self.unseen)
        return said[symptom][0]

    def typed(self, command: str) -> str:
        """Type the cure, which is a command of alembic's."""
        program, *arguments = command.replace('"', "").split(" ")
        assert program == "alembic"
        at = next((n for n, one in enumerate(arguments) if one == "-m"), len(arguments))
        return self.alembic(
            *arguments[: at + 1], *([" ".join(arguments[at + 1 :])] if arguments[at:] else [])
        )

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with self.cluster.connect(self.database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def line(self, name: str, where: str, new: str) -> None:
        """Write a line of a file anew, as the doctor says in ``where``: ``in FILE, line N``."""
        number = int(where.partition("line ")[2].partition(",")[0].split()[0])
        assert name in where
        lines = (self.folder / name).read_text().splitlines()
        indent = lines[number - 1][: len(lines[number - 1]) - len(lines[number - 1].lstrip())]
        lines[number - 1] = "\n".join(indent + one for one in new.splitlines())
        self.write(name, "\n".join(lines) + "\n")
