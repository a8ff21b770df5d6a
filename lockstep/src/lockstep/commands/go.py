"""``lockstep go --to REVISION``: up or down, with the kept sources of revisions whose files are not here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory

from lockstep.commands.project import ConfigFiles, Project, Section, in_silence, ledger_of, one_line_errors
from lockstep.commands.revisions import had, oldest_first
from lockstep.errors import LockstepError
from lockstep.revision import history
from lockstep.revision.ahead import ahead_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from alembic.script import Script

    from lockstep.revision.history import Kept


def register(main: typer.Typer) -> None:
    """Add the command."""
    main.command()(go)


def go(
    *,
    to: Annotated[str, typer.Option(help="A revision of these files, head or base.")],
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Upgrade or downgrade to a revision, whichever it takes; also down from revisions of a newer program.

    Their files need not be here: what lockstep.run() has kept in the database is run.
    """
    with one_line_errors(), tempfile.TemporaryDirectory(prefix="lockstep-") as folder:
        project = Project(config, name)
        target = _target(project, to)
        heads, newer = _at(project)
        for one in newer:
            if one.source is None:
                raise LockstepError(
                    f"the database is at {', '.join(heads)}, and revision {one.revision} is neither here nor "
                    "kept: `alembic downgrade` with the program that has it"
                )
            Path(folder, one.file).write_bytes(one.source)
        if newer:
            project.script = _with(project, folder)
        _go(project, heads, target, {one.revision for one in newer})


def _target(project: Project, to: str) -> str:
    if to == "base":
        return to
    found = project.script.get_revision(to)
    if found is None:
        raise LockstepError(f"{to} is no revision: `alembic revision` makes one")
    return found.revision


def _at(project: Project) -> tuple[tuple[str, ...], list[Kept]]:
    """Where the database is, and what it has had that has no file here."""
    found: list[tuple[tuple[str, ...], list[Kept]]] = []

    def look(heads: Any, context: MigrationContext) -> list[Any]:
        ledger = ledger_of(context)
        kept = {}
        if ledger is not None and context.connection is not None:
            kept = history.kept(context.connection, ledger.version_table)
        found.append((tuple(heads), ahead_of(project.script, heads, kept)))
        return []

    with in_silence():
        project.run(look, dont_mutate=True)
    if len(found) != 1:
        raise LockstepError(f"{project.env} migrates {len(found)} databases or schemas; this is for one")
    return found[0]


def _with(project: Project, folder: str) -> ScriptDirectory:
    """The project's revisions together with those of a folder."""
    own = project.config.get_version_locations_list() or [str(Path(project.script.dir, "versions"))]
    return ScriptDirectory(project.script.dir, version_locations=[*own, folder])


def _go(project: Project, heads: Sequence[str], target: str, newer: set[str]) -> None:
    """Down from what comes after the target and from what has no file here, then up to the target."""
    script = project.script
    here = had(script, heads)
    wanted = set() if target == "base" else had(script, [target])
    down = {
        one
        for one in here - wanted
        if target == "base" or (had(script, [one]) & {target, *newer})
    }  # fmt: skip
    order = [one for one in oldest_first(script) if one.revision in (down | (wanted - here))]
    if not order:
        typer.echo(f"the database is at {target}")
    if down:
        _migrate(project, "downgrade", [one for one in reversed(order) if one.revision in down], target)
    if wanted - here:
        _migrate(project, "upgrade", [one for one in order if one.revision in wanted - here], target)


def _migrate(project: Project, direction: str, revisions: list[Script], target: str) -> None:
    """Run the revisions, as ``alembic upgrade`` and ``downgrade`` do."""
    map_ = project.script.revision_map

    def upgrade(_heads: Any, _context: MigrationContext) -> Iterator[Any]:
        for one in revisions:
            typer.echo(f"upgrade {one.revision}")
            yield MigrationStep.upgrade_from_script(map_, one)

    def downgrade(_heads: Any, _context: MigrationContext) -> Iterator[Any]:
        for one in revisions:
            typer.echo(f"downgrade {one.revision}")
            yield MigrationStep.downgrade_from_script(map_, one)

    function = upgrade if direction == "upgrade" else downgrade
    project.run(function, destination_rev=target, starting_rev=None, as_sql=False)
