"""What is known of a project when a symptom is looked for."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata

from lockstep.doctor.sources import Source, called, parsed, shown

if TYPE_CHECKING:
    from alembic.config import Config

    from lockstep.doctor.revisions import Chain, RevisionFile
    from lockstep.doctor.sources import Sources
    from lockstep.doctor.tables import Database


@dataclass
class Case:
    """A project, its database where that could be reached, and the errors that were met."""

    config: Config
    env: Path
    sources: Sources
    chain: Chain
    errors: str
    """What programs printed, and what env.py raised now."""
    database: Database | None = None

    @cached_property
    def text(self) -> str:
        """The errors on one line: Alembic breaks them at the terminal's width."""
        return " ".join(self.errors.split())

    @property
    def env_name(self) -> str:
        return shown(self.env)

    @cached_property
    def env_source(self) -> Source | None:
        tree = parsed(self.env)
        return Source(self.env, "env", tree) if tree else None

    @cached_property
    def adopted(self) -> bool:
        """Whether env.py calls lockstep.run()."""
        source = self.env_source
        return source is not None and any(called(c) == "lockstep.run" for c in source.calls())

    @cached_property
    def pending(self) -> list[RevisionFile]:
        """The revisions between the database and the heads; all of them where it cannot be reached."""
        return self.chain.pending(self.database.heads if self.database else ())

    @property
    def metadata(self) -> list[Any]:
        """What env.py gives as target_metadata."""
        if self.database is None:
            return []
        found = self.database.context.opts.get("target_metadata")
        return [one for one in (found if isinstance(found, list | tuple) else [found]) if one is not None]

    @cached_property
    def differences(self) -> list[Any]:
        """What autogenerate would write, as Alembic's compare_metadata() tells it."""
        if self.database is None or not self.metadata or not any(one.tables for one in self.metadata):
            return []
        return list(compare_metadata(self.database.context, self.database.context.opts["target_metadata"]))

    # The configuration as it is written, never as it is read: its % may be the fault.

    @property
    def ini(self) -> Path | None:
        path = self.config.config_file_name
        return Path(path) if path is not None and Path(path).exists() else None

    @cached_property
    def ini_url(self) -> str:
        """sqlalchemy.url as it stands in the ini file; "" where there is none."""
        if self.ini is None:
            return ""
        parser = configparser.RawConfigParser()
        try:
            parser.read(self.ini, encoding="utf-8")
            return parser.get(self.config.config_ini_section, "sqlalchemy.url", fallback="")
        except (configparser.Error, UnicodeDecodeError):
            return ""

    def ini_line(self, option: str) -> str:
        """Where an option of the ini file stands."""
        assert self.ini is not None  # noqa: S101  # for mypy: what asks has read it
        lines = self.ini.read_text(encoding="utf-8", errors="replace").splitlines()
        pattern = re.compile(rf"\s*{re.escape(option)}\s*[=:]")
        number = next((n for n, line in enumerate(lines, 1) if pattern.match(line)), None)
        return f"in {shown(self.ini)}" + (f", line {number}" if number else "")
