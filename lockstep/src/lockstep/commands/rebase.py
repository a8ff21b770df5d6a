"""``lockstep rebase``: put a branch of revisions after the other head, where two were written at once."""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from alembic.util import to_tuple

from lockstep.commands.project import ConfigFiles, Project, Section, in_silence, one_line_errors
from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory


def register(main: typer.Typer) -> None:
    """Add the command."""

    @main.command()
    def rebase(
        revision: Annotated[
            str, typer.Argument(help="The head to move; without it the one that the database has not had.")
        ] = "",
        *,
        config: ConfigFiles = None,
        name: Section = "alembic",
    ) -> None:
        """Put a second head after the first: its first revision gets another down_revision.

        It edits one file. What the database has had already is not moved.
        """
        with one_line_errors():
            project = Project(config, name)
            script = project.script
            heads = script.get_heads()
            if len(heads) != 2:
                raise LockstepError(_not_two(heads))
            applied = _applied(project)
            moved = _chosen(script, heads, applied, revision)
            (onto,) = set(heads) - {moved}
            first = _first(script, moved, onto)
            if first.revision in applied:
                raise LockstepError(
                    f"the database has had {first.revision}, which would move: `lockstep rebase {onto}` "
                    "moves the other, or `alembic merge heads` keeps both"
                )
            put_after(Path(first.path), onto)
            typer.echo(f"{first.revision} is after {onto} now: {first.path}")


def _not_two(heads: list[str]) -> str:
    if not heads:
        return "there are no revisions"
    if len(heads) == 1:
        return f"there is one head, {heads[0]}: nothing to put after another"
    return f"there are {len(heads)} heads, and this is for two: `alembic merge heads`"


def _applied(project: Project) -> set[str]:
    """The revisions that the database has had."""
    found: set[str] = set()

    def look(heads: Any, _context: Any) -> list[Any]:
        for head in heads:
            found.update(_ancestors(project.script, head))
        return []

    with in_silence():
        project.run(look, dont_mutate=True)
    return found


def _ancestors(script: ScriptDirectory, revision: str) -> set[str]:
    return {one.revision for one in script.iterate_revisions(revision, "base", inclusive=True)}


def _chosen(script: ScriptDirectory, heads: list[str], applied: set[str], asked: str) -> str:
    if asked:
        found = script.get_revision(asked)
        if found.revision not in heads:
            raise LockstepError(f"{asked} is no head; the heads are {' and '.join(heads)}")
        return found.revision
    new = [head for head in heads if head not in applied]
    if len(new) != 1:
        had = "neither" if len(new) == 2 else "both"
        raise LockstepError(
            f"the database has had {had} of {' and '.join(heads)}: "
            + (f"say which one to move: `lockstep rebase {heads[-1]}`" if new else "`alembic merge heads`")
        )
    return new[0]


def _first(script: ScriptDirectory, moved: str, onto: str) -> Script:
    """The revision of the branch that is not in the other one, and after which the others of it come."""
    branch = _ancestors(script, moved) - _ancestors(script, onto)
    found = [
        one
        for one in map(script.get_revision, branch)
        if not (set(to_tuple(one.down_revision, default=())) & branch)
    ]
    if len(found) != 1 or not isinstance(found[0].down_revision, str):
        raise LockstepError(f"{moved} does not come of one line of revisions: `alembic merge heads`")
    return found[0]


def put_after(path: Path, revision: str) -> None:
    """Write a revision's file anew with this down_revision; nothing else in it changes."""
    text = path.read_text(encoding="utf-8")
    value = next(
        (
            node.value
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id == "down_revision" and node.value is not None
        ),
        None,
    )
    if value is None:
        raise LockstepError(f"{path} has no line `down_revision = …`")
    before = ast.literal_eval(value)
    lines = text.splitlines(keepends=True)
    start, end = value.lineno - 1, (value.end_lineno or value.lineno) - 1
    head = lines[start].encode()[: value.col_offset].decode()
    tail = lines[end].encode()[value.end_col_offset :].decode()
    lines[start : end + 1] = [f"{head}{revision!r}{tail}"]
    text = re.sub(
        rf"^(Revises:\s*){re.escape(str(before))}$", rf"\g<1>{revision}", "".join(lines), flags=re.MULTILINE
    )
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as written:
        written.write(text)
    Path(written.name).chmod(path.stat().st_mode)
    Path(written.name).replace(path)
