"""Bring a backup back into an empty database, or see whether it could be."""

from __future__ import annotations

import signal
import sys
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import make_conninfo
from rich.console import Console

from folkmoot.backups import manifest, restoring
from folkmoot.backups.errors import BackupError
from folkmoot.commands.recount import recount
from folkmoot.commands.schema import half_done
from folkmoot.postgres import database, revisions
from folkmoot.settings import Settings, load

#: Whom the host has granted what is in no revision.
_RIGHTS = ("*: granted to *", "default privileges *")


def command(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Restore it beside, compare, say so, and leave nothing.")
    ] = False,
    privileges: Annotated[
        bool, typer.Option(help="Grant what was granted; without, whoever restores grants anew.")
    ] = True,
) -> None:
    """Restore a backup into the configured database, which has to be empty: whole, or not at all."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with database.explained(BackupError):
        found = manifest.read(folder)
        settings = load()
        wrong = (
            _checked(settings, folder, found)
            if check
            else _restored(settings, folder, found, privileges=privileges)
        )
    for each in wrong:
        typer.echo(each)
    if wrong:
        typer.echo(f"The backup does not hold: {len(wrong)} differences", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"{'The backup holds' if check else 'Restored'}: {found.total} rows of {len(found.rows)} tables, "
        f"as of {found.taken_at}"
    )
    distance = revisions.distance(found.revisions)
    if distance.missing or distance.unknown:
        typer.echo(str(distance))


def _restored(settings: Settings, folder: Path, found: manifest.Manifest, *, privileges: bool) -> list[str]:
    with database.server(settings):
        conninfo = database.conninfo(settings)
        restoring.restore(conninfo, folder, found, privileges=privileges and not settings.embedded)
        if underway := half_done(settings):
            typer.echo(f"{underway} Run: folkmoot migrate", err=True)
        with psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection:
            return restoring.differing(connection, found)


def _checked(settings: Settings, folder: Path, found: manifest.Manifest) -> list[str]:
    with restoring.beside(None if settings.embedded else database.conninfo(settings), found) as conninfo:
        restoring.restore(conninfo, folder, found)
        with psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection:
            wrong = restoring.differing(connection, found)
            if not found.half_done:
                wrong += restoring.schema_differences(conninfo, _RIGHTS)
            if not revisions.distance(found.revisions).missing:
                wrong += [
                    str(each) for each in recount(connection, repair=False, console=Console(stderr=True))
                ]
    return wrong
