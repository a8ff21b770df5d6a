"""Looks for every symptom in a project: in its files, and in the database that its env.py connects to."""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.doctor.case import Case
from lockstep.doctor.revisions import Chain
from lockstep.doctor.sources import Sources
from lockstep.doctor.symptoms import SYMPTOMS
from lockstep.doctor.tables import Database
from lockstep.postgres.secrets import passwords, without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    from lockstep.doctor.diagnosis import Diagnosis


@dataclass
class Examination:
    """What was found, and what could not be looked at."""

    found: list[Diagnosis] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


class Doctor:
    """Examines a project. Its env.py is run by who knows how, and gives ``look`` to Alembic."""

    def __init__(self, config: Config, env: Path, folders: Sequence[Path], errors: str) -> None:
        here = config.config_file_name or config.toml_file_name or ""
        root = Path(here).absolute().parent if Path(here).exists() else Path.cwd()
        places = [Path(one).absolute() for one in config.get_prepend_sys_paths_list() or []]
        sources = Sources(root, [p for p in places if p.is_relative_to(root)], without=env.absolute().parent)
        self._case = Case(config, env, sources, Chain(folders), errors)
        self._secrets = passwords([errors, self._case.ini_url])
        self.result = Examination()
        self.looked = False

    def look(self, heads: Any, context: MigrationContext) -> list[Any]:
        """What Alembic calls in place of a migration: it only reads."""
        self.looked = True
        if context.connection is None:
            self._look(self._case)
            return []
        database = Database(context.connection, context, tuple(heads))
        database.begin()
        self._look(replace(self._case, database=database))
        return []

    def look_without(self, error: BaseException) -> None:
        """Where env.py or the server let nobody in: what it raised is a symptom, too."""
        raised = "".join(traceback.format_exception(error))
        self._look(replace(self._case, errors=f"{self._case.errors}\n{raised}"))

    def say(self, text: str) -> str:
        """The text as it may be printed."""
        return without_secrets(text, self._secrets)

    def _look(self, case: Case) -> None:
        for symptom in SYMPTOMS:
            try:
                with case.database.alone() if case.database else nullcontext():
                    found = symptom.found(case)
            except Exception as error:  # noqa: BLE001  # one that cannot be looked for leaves the others
                first = str(error).splitlines()[0] if str(error) else ""
                self.result.unseen.append(self.say(f"{symptom.name}: {type(error).__name__}: {first}"))
                continue
            self.result.found += [one for one in found if one not in self.result.found]
