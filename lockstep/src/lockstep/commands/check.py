"""``lockstep check``: what a pipeline asks."""

from __future__ import annotations

import typer

from lockstep.commands import checks
from lockstep.commands.project import ConfigFiles, Project, Section, one_line_errors
from lockstep.commands.sides import Files, all_ignored
from lockstep.commands.snapshots import OTHER, UNKNOWN, Ignored, Server
from lockstep.commands.trial import Trial


def register(main: typer.Typer) -> None:
    """Add the command."""

    @main.command()
    def check(
        *,
        server: Server = None,
        ignore: Ignored = None,
        config: ConfigFiles = None,
        name: Section = "alembic",
    ) -> None:
        """For a pipeline: one head, snapshots as the revisions are, and up, down and up again end alike.

        Runs in a database made for it, like `lockstep snapshot`. Exit status 1 where something is not so.
        """
        with one_line_errors(UNKNOWN):
            project = Project(config, name)
            with Trial(project, server, all_ignored(project, ignore)) as trial:
                wrong = checks.heads(project)
                wrong += map(str, checks.stale(trial, Files(project.script)))
                wrong += checks.there_and_back(trial)
        for line in wrong:
            typer.echo(line)
        if wrong:
            raise typer.Exit(OTHER)
        typer.echo("one head, its snapshots, and the way down and up again are in order")
