"""An Alembic project made up for a test, run by Lockstep or by plain Alembic."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from pathlib import Path

_ENV = """
import sqlalchemy as sa
from alembic import context

import lockstep

options = context.config.attributes
if options["plain"]:
    if context.is_offline_mode():
        context.configure(url=options["url"], literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    else:
        with sa.create_engine(options["url"], poolclass=sa.pool.NullPool).connect() as connection:
            metadata = options["run"].get("target_metadata")
            context.configure(
                connection=connection, transaction_per_migration=True, target_metadata=metadata
            )
            with context.begin_transaction():
                context.run_migrations()
else:
    lockstep.run(url=options["url"], **options["run"])
"""

_REVISION = """
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import lockstep

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade():
{upgrade}

def downgrade():
{downgrade}
"""


class Project:
    """A folder of revisions named ``r1``, ``r2`` … (or otherwise), each after the one before."""

    def __init__(self, folder: Path, url: str, *, name: str = "r", **run: object) -> None:
        self.folder = folder
        self.url = url
        self.run_options = run
        self.count = 0
        self.name = name
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(_ENV)

    def revision(
        self, upgrade: str, downgrade: str = "pass", *, down: str | tuple[str, ...] | None = None
    ) -> str:
        """Write a revision file, after the last one unless ``down`` says after which; return its name."""
        self.count += 1
        name = f"{self.name}{self.count}"
        (self.folder / "versions" / f"{name}.py").write_text(
            _REVISION.format(
                revision=name,
                down=down or (f"r{self.count - 1}" if self.count > 1 else None),
                upgrade=textwrap.indent(textwrap.dedent(upgrade).strip() or "pass", "    "),
                downgrade=textwrap.indent(textwrap.dedent(downgrade).strip() or "pass", "    "),
            )
        )
        return name

    def config(self, url: str | None = None, *, plain: bool = False, **run: object) -> Config:
        config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
        config.set_main_option("script_location", str(self.folder))
        config.attributes.update(plain=plain, url=url or self.url, run={**self.run_options, **run})
        return config

    def upgrade(
        self, to: str = "head", url: str | None = None, *, plain: bool = False, **run: object
    ) -> None:
        command.upgrade(self.config(url, plain=plain, **run), to)

    def downgrade(self, to: str, url: str | None = None, *, plain: bool = False, **run: object) -> None:
        command.downgrade(self.config(url, plain=plain, **run), to)

    def current(self) -> str:
        """What ``alembic current`` prints."""
        config = self.config()
        command.current(config)
        assert isinstance(config.stdout, io.StringIO)
        return config.stdout.getvalue().strip()

    def sql(self, to: str = "head", *, plain: bool = False) -> str:
        """What ``alembic upgrade --sql`` writes."""
        config = self.config(plain=plain)
        command.upgrade(config, to, sql=True)
        assert isinstance(config.output_buffer, io.StringIO)
        return config.output_buffer.getvalue()


#: An operation of the project whose tables are failing.SCHEMA.
ADDS = "op.add_column('books', sa.Column('pages', sa.Integer(), server_default='100'))"


def edit(project: Project, name: str, old: str, new: str) -> None:
    """Edit a revision's file, as its author does."""
    path = project.folder / "versions" / f"{name}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def stops(project: Project, body: str, downgrade: str = "pass") -> str:
    """A revision that stops half way."""
    name = project.revision(f"{body}\nraise RuntimeError('stopped')", downgrade)
    with pytest.raises(RuntimeError, match="stopped"):
        project.upgrade(name)
    return name
