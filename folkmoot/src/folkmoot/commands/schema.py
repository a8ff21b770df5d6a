"""How far the database is from the schema that this program knows, for commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import typer
from psycopg import errors
from psycopg.conninfo import make_conninfo

from folkmoot.postgres import database, revisions
from folkmoot.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def at_head(settings: Settings) -> Iterator[psycopg.Connection]:
    found = distance(settings)
    if found.missing or found.unknown:
        raise SettingsError(str(found))
    with psycopg.connect(make_conninfo(**database.conninfo(settings)), autocommit=True) as connection:
        yield connection


def check_schema(settings: Settings) -> None:
    """Say that the schema does not fit, or that a revision on it is half done while it fits."""
    found, underway = distance(settings), half_done(settings)
    if found.missing or found.unknown:
        raise SettingsError(f"{found} {underway}".rstrip())
    if not underway:
        return
    with psycopg.connect(make_conninfo(**database.conninfo(settings))) as connection:
        mismatch = revisions.mismatch(
            connection.execute(revisions.COLUMNS.replace("$1", "%s").encode(), [revisions.tables()])
        )
    if mismatch:
        raise SettingsError(f"{mismatch}. {underway} Run: folkmoot migrate")
    typer.echo(underway, err=True)


def half_done(settings: Settings) -> str:
    with psycopg.connect(make_conninfo(**database.conninfo(settings)), autocommit=True) as connection:
        try:
            return revisions.half_done(connection.execute(revisions.UNDERWAY).fetchall())
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            return ""


def distance(settings: Settings) -> revisions.Distance:
    with psycopg.connect(make_conninfo(**database.conninfo(settings))) as connection:
        found = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
        rows = connection.execute(revisions.CURRENT).fetchall() if found and found[0] else []
    return revisions.distance(row[0] for row in rows)
