"""``lockstep pause``, ``resume`` and ``pace``: a migration that runs elsewhere, held or re-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lockstep.postgres.session import transaction
from lockstep.revision.ledger import Ledger
from lockstep.steps import control

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from lockstep.steps.control import Control

    OnConnection = Callable[[str, Callable[[Connection, str, tuple[str, ...]], None]], None]

ConfigFile = Annotated[str, typer.Option("--config", "-c", help="Alembic's configuration file.")]


def _ask(on_connection: OnConnection, config: str, **asked: Any) -> Control:
    found: list[Control] = []

    def write(connection: Connection, version_table: str, _heads: tuple[str, ...]) -> None:
        connection.commit()
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        Ledger(version_table).create(autocommit)
        with transaction(autocommit):
            found.append(control.write(autocommit, version_table, **asked))

    on_connection(config, write)
    return found[0]


def register(main: typer.Typer, on_connection: OnConnection) -> None:
    """Add the commands."""

    @main.command()
    def pause(*, config: ConfigFile = "alembic.ini") -> None:
        """Hold a running migration: after the batch or the step at hand, until `lockstep resume`."""
        _ask(on_connection, config, paused=True)
        typer.echo("paused: it holds after the batch or step at hand, and so does the next one that starts")

    @main.command()
    def resume(*, config: ConfigFile = "alembic.ini") -> None:
        """Let a paused migration go on."""
        _ask(on_connection, config, paused=False)
        typer.echo("resumed")

    @main.command()
    def pace(
        settings: Annotated[
            list[str] | None,
            typer.Argument(help="NAME=SECONDS; NAME= goes back to what the program says."),
        ] = None,
        *,
        config: ConfigFile = "alembic.ini",
    ) -> None:
        """Show or change how gently a running migration goes: `lockstep pace batch_time=0.005`."""
        wanted: dict[str, Any] = {}
        for setting in settings or ():
            name, equals, value = setting.partition("=")
            if not equals:
                raise typer.BadParameter(f"{setting}: takes NAME=SECONDS, batch_time=0.005 say")
            try:
                wanted[name] = float(value) if value else None
            except ValueError:
                raise typer.BadParameter(f"{setting}: {value!r} is no number") from None
        shown = _ask(on_connection, config, settings=wanted)
        for name, value in sorted(shown.settings.items()):
            typer.echo(f"{name} = {value:g}")
        if not shown.settings:
            typer.echo(f"as the program says; can be changed: {', '.join(sorted(control.TUNABLE))}")
