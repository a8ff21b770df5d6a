"""Open psql on the database."""

from __future__ import annotations

import os
import signal
import subprocess

import typer
from psycopg.conninfo import make_conninfo

from folkmoot.postgres import database
from folkmoot.postgres.server import programs
from folkmoot.settings import load


def command(context: typer.Context) -> None:
    """Open psql on the database; arguments are psql's."""
    with database.explained():
        settings = load()
        with database.server(settings):
            found = database.conninfo(settings)
            environment = {**os.environ}
            if password := found.pop("password", None):
                environment["PGPASSWORD"] = password  # not an argument, which every process can read
            found_programs = programs()
            program = str(found_programs / "psql") if found_programs else "psql"
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql handles it
            arguments = [program, make_conninfo(**found), *context.args]
            status = subprocess.run(arguments, env=environment, check=False).returncode  # noqa: S603
    raise typer.Exit(status)
