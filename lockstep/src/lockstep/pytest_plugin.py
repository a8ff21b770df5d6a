"""The checks of ``lockstep check`` as tests of a project's own suite.

``lockstep = true`` in pytest's configuration, or ``pytest --lockstep``, adds four tests: one head, snapshots
as the revisions are, each revision's way down and up again, and who waits for the new ones, with what squawk
says of them. ``lockstep_since`` says which are new, as ``--since`` does; ``lockstep_config`` names
alembic.ini or pyproject.toml, from the root of the project, where it is not there. They run in databases made
for them, on the server that env.py connects to (the role needs CREATEDB), or on the embedded one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lockstep.commands import checks, new_revisions
from lockstep.commands.project import Project
from lockstep.commands.sides import Files, all_ignored
from lockstep.commands.trial import Trial
from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest._code.code import ExceptionInfo


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--lockstep``, and what the configuration says."""
    parser.addini("lockstep", "check the revisions of Alembic (bool)", type="bool", default=False)
    parser.addini("lockstep_config", "alembic.ini or pyproject.toml, where it is not at the root", default="")
    parser.addini(
        "lockstep_since", "the revision, or state of git, after which revisions are new", default=""
    )
    parser.addoption("--lockstep", action="store_true", help="check the revisions of Alembic")


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the checks after the project's own tests."""
    if config.getoption("lockstep") or config.getini("lockstep"):
        for name, check in CHECKS.items():
            items.append(Check.from_parent(session, name=f"lockstep: {name}", check=check))


class Check(pytest.Item):
    """One of the checks."""

    def __init__(self, *, check: Callable[[Project, str | None], list[str]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._check = check

    def runtest(self) -> None:
        """Run it in the root of the project, as the command would be typed."""
        named = self.config.getini("lockstep_config")
        since = self.config.getini("lockstep_since") or None
        before = Path.cwd()
        os.chdir(self.config.rootpath)
        try:
            if wrong := self._check(Project([named] if named else None, "alembic"), since):
                raise LockstepError("\n".join(wrong))
        finally:
            os.chdir(before)

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is wrong, a line each, and no traceback."""
        if isinstance(excinfo.value, LockstepError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.config.rootpath, None, self.name


def _snapshots(project: Project, _since: str | None) -> list[str]:
    with Trial(project, None, all_ignored(project, None)) as trial:
        return [f"{one}: `lockstep snapshot` writes it" for one in checks.stale(trial, Files(project.script))]


def _there_and_back(project: Project, _since: str | None) -> list[str]:
    with Trial(project, None, all_ignored(project, None)) as trial:
        looked = checks.ThereAndBack(trial, checks.all_irreversible(project, None))
        checks.stale(trial, Files(project.script), looked)
        return looked.wrong


def _new(project: Project, since: str | None) -> list[str]:
    return new_revisions.look(project, None, since, [], with_squawk=True)[0]


CHECKS: dict[str, Callable[[Project, str | None], list[str]]] = {
    "one head": lambda project, _since: checks.heads(project),
    "snapshots": _snapshots,
    "up, down and up again": _there_and_back,
    "nobody waits for the new revisions": _new,
}
