"""A project of three revisions, other ways for its env.py to connect, and the commands that are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_line import made, revision, typed

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

#: An env.py that has never heard of Lockstep; its URL is in place of URL.
PLAIN = """
import sqlalchemy as sa
from alembic import context

with sa.create_engine("URL").connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
ASYNC = """
import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

def migrate(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    async with create_async_engine("URL").connect() as connection:
        await connection.run_sync(migrate)

asyncio.run(main())
"""
CREATOR = """
import psycopg
import sqlalchemy as sa
from alembic import context

engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect("DSN"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def three_revisions(folder: Path, url: str) -> Path:
    """A project that has adopted Lockstep."""
    made(folder, url)
    revision(
        folder, "a", "op.create_table('posts', sa.Column('id', sa.Integer(), primary_key=True))", None,
        "op.drop_table('posts')",
    )  # fmt: skip
    revision(folder, "b", "op.add_column('posts', sa.Column('title', sa.Text()))", "a",
             "op.drop_column('posts', 'title')")  # fmt: skip
    revision(folder, "c", "op.create_index('posts_title', 'posts', ['title'])", "b",
             "op.drop_index('posts_title', 'posts')")  # fmt: skip
    return folder


def env(project: Path, text: str, cluster: Cluster, database: str, driver: str = "psycopg") -> None:
    text = text.replace("URL", cluster.url(database, driver)).replace("DSN", cluster.url(database))
    (project / "migrations" / "env.py").write_text(text)


def lockstep(project: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Exit status, the lines of the output, the errors."""
    status, output, errors = typed(project, "lockstep", *arguments)
    assert "Traceback" not in output + errors
    return status, output.splitlines(), errors.strip()


def alembic(project: Path, *arguments: str) -> None:
    status, _, errors = typed(project, "alembic", *arguments)
    assert status == 0, errors


def snapshots(project: Path) -> list[str]:
    return sorted(path.name for path in (project / "migrations" / "snapshots").glob("*"))
