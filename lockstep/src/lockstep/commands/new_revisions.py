"""What a pipeline asks of the revisions that are new: who would wait for them, and what squawk says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alembic.util import CommandError

from lockstep import private_names
from lockstep.commands.plan import revisions_of
from lockstep.commands.rehearsal import Rehearsal
from lockstep.commands.revisions import parents
from lockstep.errors import LockstepError
from lockstep.plan import plan, target
from lockstep.plan.judgement import WAITS
from lockstep.plan.target import Size, Target

if TYPE_CHECKING:
    from collections.abc import Collection

    from lockstep.commands.project import Project
    from lockstep.plan.plan import Plan

#: What each table is taken for: nobody knows here how large it is where it matters.
_LARGE = Size(rows=10_000_000, bytes=2 << 30, heap=1 << 30)

#: The rules of squawk that Lockstep makes moot: it takes no lock for longer than it may, does in steps what
#: would read or rewrite under one, begins and ends transactions itself, and goes on where it was stopped.
#: How long who waits then is the plan's to say, which has run it.
_MOOT = frozenset({
    "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field",
    "adding-serial-primary-key-field", "ban-concurrent-index-creation-in-transaction",
    "ban-uncommitted-transaction", "changing-column-type", "constraint-missing-not-valid",
    "disallowed-unique-constraint", "prefer-robust-stmts", "require-concurrent-index-creation",
    "require-concurrent-index-deletion", "require-concurrent-partition-detach", "require-concurrent-reindex",
    "require-lock-timeout", "require-statement-timeout", "require-timeout-settings", "transaction-nesting",
})  # fmt: skip


@dataclass(frozen=True)
class Since:
    """Where the new revisions begin."""

    heads: tuple[str, ...]
    """The revisions, not new, that no other one that is not new stands on."""
    named: str


def since(project: Project, asked: str | None) -> Since | None:
    """A revision, or a state that git knows; where nobody says, origin's main branch. None without one."""
    project.load()
    if asked is None:
        return _in_git(project, "origin/HEAD")
    if asked == "base":
        return Since((), asked)
    try:
        found = project.script.get_revisions(asked)
        return Since(tuple(one.revision for one in found), asked)
    except CommandError:
        pass
    known = _in_git(project, asked)
    if known is None:
        raise LockstepError(
            f"--since {asked} is no revision, and nothing that git knows here; a pipeline that fetches one "
            "commit alone has to fetch that one, too"
        )
    return known


def _in_git(project: Project, reference: str) -> Since | None:
    script = project.script
    revisions = list(script.walk_revisions())
    folder = Path(script.dir).absolute()
    try:
        top = Path(_git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
        listed = _git(top, "ls-tree", "-r", "-z", "--name-only", "--end-of-options", reference)
        known = {str(top / name) for name in listed.split("\0") if name}
        new = {one.revision for one in revisions if str(Path(one.path).resolve()) not in known}
        new -= _moved(top, reference) if new else set()
    except (OSError, subprocess.SubprocessError):
        return None
    had = {one.revision for one in revisions} - new
    below = {name for one in revisions if one.revision in had for name in parents(script, one)}
    return Since(tuple(sorted(had - below)), reference)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603  # what is asked for is an argument, and no option
        ["git", *arguments],  # noqa: S607  # which git is for PATH to say
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and (done.stderr or arguments[0] != "grep"):  # grep ends with 1 where it finds nothing
        done.check_returncode()
    return done.stdout


def _moved(top: Path, reference: str) -> set[str]:
    """The revisions in files that git knows there and that are not at their place any more: another
    project in the same repository may have revisions of the same names.
    """
    pattern = r"^revision\s*(:[^=]*)?="
    lines = _git(top, "grep", "-z", "-E", "-e", pattern, reference, "--", "*.py").splitlines()
    found = set()
    for line in lines:
        place, _, text = line.partition("\0")
        value = re.search(r"""=\s*(["'])(.*?)\1""", text)
        if value and not (top / place.removeprefix(f"{reference}:")).exists():
            found.add(value[2])
    return found


def rehearsed(project: Project, server: str | None, begin: Since, allowed: Collection[str]) -> Plan | None:
    """The plan of the new revisions, on a database where each table is large; None where none is new."""
    steps = list(private_names.upgrade_steps(project.script, "heads", begin.heads))
    if not steps:
        return None
    supposed = Target("", "", begin.heads, {})
    with Rehearsal(project, server, supposed) as rehearsal:
        rehearsal.prepare()
        with rehearsal.connection() as connection:
            tables = dict.fromkeys(target.sizes(connection), _LARGE)
        rehearsal.target = supposed = replace(supposed, tables=tables)
        with_lockstep = rehearsal.with_lockstep("upgrade", "heads")
        plain = rehearsal.plain("upgrade", "heads")
    end = tuple(project.script.get_heads())
    revisions = revisions_of(steps)
    return plan.Plan(supposed, "upgrade", end, revisions, rehearsal.adopted, plain, with_lockstep, allowed)


def waiting(found: Plan) -> list[str]:
    """Who would wait for longer than a moment."""
    return [
        f"revision {one.revision}: {one.name}: {one.says}"
        for one in found.hazards()
        if one.name in WAITS and not found.is_allowed(one)
    ]


def squawk() -> str | None:
    """The program, beside this Python or in PATH."""
    beside = Path(sys.executable).with_name("squawk")
    return str(beside) if beside.exists() else shutil.which("squawk")


def squawked(project: Project, program: str, found: Plan) -> list[str]:
    """What squawk says of what plain Alembic would send, but for the rules that Lockstep makes moot."""
    wrong = []
    for revision in found.revisions:
        statements = [s for one in found.plain if one.revision == revision.revision for s in one.sql]
        wrong += [
            f"revision {revision.revision}: squawk: {one.rule}: {one.says} "
            f"({' '.join(one.statement.split())})"
            for one in _violations(project, program, f"{revision.revision}.sql", statements)
            if not (found.adopted and one.rule in _MOOT)
        ]
    return wrong


@dataclass(frozen=True)
class _Violation:
    rule: str
    says: str
    statement: str


def _violations(project: Project, program: str, name: str, statements: list[str]) -> list[_Violation]:
    texts = [f"{statement.rstrip('; ')}\n;\n" for statement in statements]
    done = subprocess.run(  # noqa: S603  # the program that was found
        [program, "--reporter", "json", "--stdin-filepath", name],
        cwd=project.root, capture_output=True, text=True, check=False, input="".join(texts),
    )  # fmt: skip
    try:
        found = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise LockstepError(f"squawk fails: {said[0]}") from None
    of_line = [
        statement for statement, text in zip(statements, texts, strict=True) for _ in text.splitlines()
    ]
    return [_Violation(one["rule_name"], one["message"], of_line[one["line"]]) for one in found]


def look(
    project: Project, server: str | None, asked: str | None, allowed: Collection[str], *, with_squawk: bool
) -> tuple[list[str], list[str]]:
    """What is wrong with the new revisions, and what was looked at or why it was not: a line each."""
    begin = since(project, asked)
    if begin is None:
        return [], ["which revisions are new is not known (--since REVISION or a state of git): no plan"]
    found = rehearsed(project, server, begin, allowed)
    if found is None:
        return [], [f"no revision is new since {begin.named}"]
    wrong, told = (
        waiting(found),
        [f"new since {begin.named}: {', '.join(r.revision for r in found.revisions)}"],
    )
    program = squawk() if with_squawk else None
    if program is not None:
        wrong += squawked(project, program, found)
    elif with_squawk:
        told.append("squawk is not installed (pip install squawk-cli): it was not asked")
    return wrong, told
