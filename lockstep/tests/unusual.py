"""Projects that are unusual, and work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_line import revision

if TYPE_CHECKING:
    from outside import Place


def asynchronous(place: Place) -> None:
    place.template("async")
    place.ini(place.url().replace("+psycopg", "+asyncpg"))


def asynchronous_over_psycopg(place: Place) -> None:
    place.template("async")


def models_of_sqlmodel(place: Place) -> None:
    place.write("models.py", "from sqlmodel import Field, SQLModel\n\n\nclass Post(SQLModel, table=True):\n"
                "    __tablename__ = 'posts'\n    id: int | None = Field(default=None, primary_key=True)\n"
                "    title: str = ''\n")  # fmt: skip
    place.env("target_metadata = None", "import models\ntarget_metadata = models.SQLModel.metadata")


def several_schemas(place: Place) -> None:
    place.sql("CREATE SCHEMA blog; CREATE TABLE blog.posts (id integer); CREATE VIEW blog.v AS TABLE posts")
    place.env("target_metadata=target_metadata", "target_metadata=target_metadata, include_schemas=True")
    revision(place.folder, "r1", "op.create_table('posts', sa.Column('id', sa.Integer())); "
             "op.execute('CREATE SCHEMA blog'); op.create_table('posts', sa.Column('id', sa.Integer()), "
             "schema='blog'); op.execute('CREATE VIEW blog.v AS TABLE posts')", None,
             "op.execute('DROP SCHEMA blog CASCADE'); op.drop_table('posts')")  # fmt: skip


def url_of_settings(place: Place) -> None:
    place.write("settings.py", f"class Settings:\n    url = {place.url()!r}\n")
    place.ini("driver://user:pass@localhost/dbname")
    place.env("from alembic import context", "from alembic import context\nfrom settings import Settings\n"
              "context.config.set_main_option('sqlalchemy.url', Settings.url)")  # fmt: skip


def url_of_environment(place: Place) -> None:
    place.ini("")
    place.env("from alembic import context", "import os\nfrom alembic import context\n"
              f"os.environ.setdefault('DATABASE_URL', {place.url()!r})\n"
              "context.config.set_main_option('sqlalchemy.url', os.environ['DATABASE_URL'])")  # fmt: skip


def configured_in_pyproject(place: Place) -> None:
    place.write("pyproject.toml", '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
                'prepend_sys_path = ["."]\n')  # fmt: skip
    (place.folder / "alembic.ini").unlink()
    place.env("from alembic import context", "from alembic import context\n"
              f"context.config.set_main_option('sqlalchemy.url', {place.url()!r})")  # fmt: skip


def nothing(_place: Place) -> None:
    """All is well."""
