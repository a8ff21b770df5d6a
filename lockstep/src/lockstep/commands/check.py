"""``lockstep check``: what a pipeline asks."""

from __future__ import annotations

from typing import Annotated

import typer

from lockstep.commands import checks, new_revisions
from lockstep.commands.project import ConfigFiles, Project, Section, one_line_errors
from lockstep.commands.sides import Files, all_ignored
from lockstep.commands.snapshots import OTHER, Ignored, Server
from lockstep.commands.trial import Trial
from lockstep.errors import LockstepError
from lockstep.plan.judgement import WAITS


def register(main: typer.Typer) -> None:
    """Add the command."""

    @main.command()
    def check(
        *,
        since: Annotated[
            str | None,
            typer.Option(
                metavar="REVISION|GIT",
                help="Revisions after this one, or not there in git, are new; "
                "else those that origin's main branch does not have.",
            ),
        ] = None,
        irreversible: Annotated[
            list[str] | None,
            typer.Option(
                metavar="REVISION",
                help="Do not try its downgrade. Alembic's option lockstep_irreversible "
                "adds more, separated by commas.",
            ),
        ] = None,
        allow: Annotated[
            list[str] | None, typer.Option(help=f"A hazard that is accepted: {', '.join(sorted(WAITS))}.")
        ] = None,
        with_squawk: Annotated[
            bool, typer.Option("--squawk/--no-squawk", help="Let squawk look, where it is installed.")
        ] = True,
        server: Server = None,
        ignore: Ignored = None,
        config: ConfigFiles = None,
        name: Section = "alembic",
    ) -> None:
        """For a pipeline: one head, snapshots as the revisions are, each revision up, down and up again ends
        alike; and nobody waits for the new ones, of which squawk, where it is installed, has nothing to say.

        Runs in databases made for it, like `lockstep snapshot`. Exit status 1 where something is not so.
        """  # fmt: skip
        with one_line_errors():
            if unknown := sorted({*(allow or ())} - WAITS):
                raise LockstepError(f"--allow {unknown[0]}: there is {', '.join(sorted(WAITS))}")
            project = Project(config, name)
            with Trial(project, server, all_ignored(project, ignore)) as trial:
                # Only now: env.py may say where to find what the revisions import.
                wrong = checks.heads(project)
                not_tried = checks.all_irreversible(project, irreversible)
                there_and_back = checks.ThereAndBack(trial, not_tried)
                wrong += map(str, checks.stale(trial, Files(project.script), there_and_back))
            wrong += there_and_back.wrong
            further, told = new_revisions.look(project, server, since, allow or [], with_squawk=with_squawk)
            wrong += further
        for line in [*wrong, *told]:
            typer.echo(line)
        for one in not_tried:
            typer.echo(f"revision {one} is irreversible, as is allowed")
        if wrong:
            raise typer.Exit(OTHER)
        typer.echo("one head, its snapshots, and each revision's way down and up again are in order")
