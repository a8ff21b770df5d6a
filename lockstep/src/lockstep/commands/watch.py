"""``lockstep watch``: a live view of a migration that is under way elsewhere."""

from __future__ import annotations

import json
import sys
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated

import typer

from lockstep.commands.project import (
    NOT_ADOPTED,
    ConfigFiles,
    Section,
    ledger_of,
    look_at_each_database,
)
from lockstep.commands.under_way import UnderWay, look
from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.runtime.migration import MigrationContext

    from lockstep.commands.project import Project

_WIDTH = 30


def register(main: typer.Typer) -> None:
    """Add the command."""
    main.command()(watch)


def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; exit status 3: it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each look.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.05)] = 1.0,
    config: ConfigFiles = None,
    name: Section = "alembic",
) -> None:
    """Show a migration that another process runs: operation, step, how far, who waits for whom.

    Until Ctrl-C. The time left is told from the second look on. Nothing is changed, nothing is locked.
    """
    seen: list[UnderWay | None] = []

    def show(project: Project, context: MigrationContext, _heads: tuple[str, ...]) -> None:
        ledger = ledger_of(context)
        if ledger is None or context.connection is None:
            raise LockstepError(NOT_ADOPTED.format(env=project.env))
        pace = Pace()
        while True:
            found = look(context, ledger)
            context.connection.commit()
            seen.append(found)
            left = pace.seconds_left(found)
            if as_json:
                told = found.to_json() | {"seconds_left": left} if found else None
                typer.echo(json.dumps(told))
            else:
                _print(list(lines(found, left)), anew=not once and sys.stdout.isatty())
            if once:
                return
            sleep(interval)

    try:
        look_at_each_database(config, name, show)
    except KeyboardInterrupt:
        return
    if any(seen):
        raise typer.Exit(3)


class Pace:
    """How fast a step goes, by how much of it was done at the looks before."""

    def __init__(self) -> None:
        self._step: tuple[object, ...] = ()
        self._first = (0.0, 0.0)

    def seconds_left(self, found: UnderWay | None) -> float | None:
        """None where nothing tells, or too little is done."""
        if found is None or found.share is None:
            return None
        now, step = monotonic(), (found.revision, found.operation, found.step, found.phase)
        if step != self._step:
            self._step, self._first = step, (now, found.share)
            return None
        since, share = self._first
        if found.share <= share:
            return None
        return round((1 - found.share) * (now - since) / (found.share - share), 1)


def lines(found: UnderWay | None, left: float | None) -> Iterator[str]:
    """A look in words."""
    if found is None:
        yield "nothing is under way"
        return
    if found.migrator is None:
        yield f"the {found.direction} of revision {found.revision} is half done, and no process is at work"
    else:
        seconds = found.transaction_seconds
        since = f", in a transaction for {seconds:.1f} s" if seconds is not None else ""
        what = f"the {found.direction} of revision {found.revision}" if found.revision else "a migration"
        yield f"{what} is under way: pid {found.migrator} of {found.role}{since}"
    if found.operation:
        yield f"  {found.operation}: step {found.steps_done + 1} of {found.steps}: {found.step}"
    if found.share is not None:
        full = round(found.share * _WIDTH)
        about = "" if left is None else f", about {left:.0f} s left"
        phase = f" {found.phase}" if found.phase else ""
        yield f"  [{'#' * full}{'.' * (_WIDTH - full)}] {found.share:.0%}{phase}{about}"
    elif found.phase:
        yield f"  {found.phase}"
    if found.paused_by:
        yield f"  paused by {found.paused_by}: `lockstep resume` lets it go on"
    for one in found.waiting:
        yield f"  {one}"


def _print(shown: list[str], *, anew: bool) -> None:
    """Write the lines; on a terminal in the place of those before."""
    if anew:
        typer.echo("\x1b[H\x1b[2J", nl=False)
    typer.echo("\n".join(shown))
