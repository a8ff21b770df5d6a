"""Upgrade the database's schema."""

from __future__ import annotations

from typing import Annotated

import alembic.command
import sqlalchemy
import typer
from alembic.util import CommandError

from folkmoot.commands.schema import distance, half_done
from folkmoot.postgres import database, revisions
from folkmoot.settings import Settings, SettingsError, load


def command(revision: Annotated[str, typer.Argument(help="Where to stop.")] = "head") -> None:
    """Upgrade the database's schema."""
    with database.explained():
        settings = load()
        with database.server(settings):
            upgrade(settings, revision)
            typer.echo(str(distance(settings)))


def upgrade(settings: Settings, revision: str) -> None:
    found = distance(settings)
    if found.unknown:
        raise SettingsError(str(found))
    try:
        alembic.command.upgrade(revisions.config(), revision)
    except CommandError as error:
        raise SettingsError(str(error)) from None
    except sqlalchemy.exc.DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        raise SettingsError(f"The migration stopped: {reason}. {half_done(settings)}".rstrip()) from None
