"""``lockstep pause``, ``resume`` and ``pace``: a migration that runs elsewhere, held or re-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockstep.commands.project import ConfigFiles, Section, on_each_database
from lockstep.postgres.session import transaction
from lockstep.revision.ledger import Ledger
from lockstep.steps import control

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.steps.control import Control


def _ask(config: list[str] | None, name: str, **asked: Any) -> Control:
    """Ask for something; only read what was asked for where that is nothing."""
    found: list[Control] = []

    def write(connection: Connection, version_table: str, _heads: tuple[str, ...]) -> None:
        if not asked:
            found.append(control.read(connection, version_table))
            return
        connection.commit()
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        Ledger(version_table).create(autocommit)
        with transaction(autocommit):
            found.append(control.write(autocommit, version_table, **asked))

    on_each_database(config, name, write)
    return found[0]


def register(main: typer.Typer) -> None:
    """Add the commands."""

    @main.command()
    def pause(*, config: ConfigFiles = None, name: Section = "alembic") -> None:
        """Hold a running migration: after the batch or the step at hand, until `lockstep resume`."""
        _ask(config, name, paused=True)
        typer.echo("paused: it holds after the batch or step at hand, and so does the next one that starts")

    @main.command()
    def resume(*, config: ConfigFiles = None, name: Section = "alembic") -> None:
        """Let a paused migration go on."""
        _ask(config, name, paused=False)
        typer.echo("resumed")

    @main.command()
    def pace(
        settings: Annotated[
            list[str] | None,
            typer.Argument(help="NAME=SECONDS; NAME= goes back to what the program says."),
        ] = None,
        *,
        config: ConfigFiles = None,
        name: Section = "alembic",
    ) -> None:
        """Show or change how gently a running migration goes: `lockstep pace batch_time=0.005`."""
        wanted: dict[str, Any] = {}
        for setting in settings or ():
            key, equals, value = setting.partition("=")
            if not equals:
                raise typer.BadParameter(f"{setting}: takes NAME=SECONDS, batch_time=0.005 say")
            try:
                wanted[key] = float(value) if value else None
            except ValueError:
                raise typer.BadParameter(f"{setting}: {value!r} is no number") from None
        shown = _ask(config, name, settings=wanted) if wanted else _ask(config, name)
        for key, value in sorted(shown.settings.items()):
            typer.echo(f"{key} = {value:g}")
        if not shown.settings:
            typer.echo(f"as the program says; can be changed: {', '.join(sorted(control.TUNABLE))}")
