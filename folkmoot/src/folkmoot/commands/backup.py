"""Write the database into files, while people go on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.backups import manifest, taking
from folkmoot.backups.errors import BackupError
from folkmoot.postgres import database
from folkmoot.settings import load


def command(
    folder: Annotated[
        Path, typer.Argument(help="Where to put it: a new folder in this one, named by its moment.")
    ] = Path("backups"),
    *,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="How many connections write it; one takes least from others.")
    ] = 1,
) -> None:
    """Write a backup of the database, and print where; the service can go on meanwhile.

    It has everything that was acknowledged before the moment that it is named by.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so remove what is half written
    os.nice(10)  # whoever serves comes first
    with database.explained(BackupError):
        settings = load()
        with database.server(settings):
            # What the embedded database's service may do is given to it at each start.
            taken = taking.take(
                database.conninfo(settings), folder, jobs=jobs, privileges=not settings.embedded
            )
    found = manifest.read(taken)
    size = sum(each.size for each in found.files.values())
    typer.echo(f"{found.total} rows of {len(found.rows)} tables, {size / 1e6:.1f} MB", err=True)
    typer.echo(taken)
