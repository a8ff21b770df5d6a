"""How far the database is from the schema that this program knows, for commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import typer
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row, scalar_row

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
        columns = connection.cursor(row_factory=class_row(revisions.Column))
        statement = revisions.COLUMNS.replace("$1", "%s").encode()
        mismatch = revisions.mismatch(columns.execute(statement, [revisions.tables()]))
    if mismatch:
        raise SettingsError(f"{mismatch}. {underway} Run: folkmoot migrate")
    typer.echo(underway, err=True)


def half_done(settings: Settings) -> str:
    with psycopg.connect(make_conninfo(**database.conninfo(settings)), autocommit=True) as connection:
        try:
            underway = connection.cursor(row_factory=class_row(revisions.Underway))
            return revisions.half_done(underway.execute(revisions.UNDERWAY).fetchall())
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            return ""


def distance(settings: Settings) -> revisions.Distance:
    with psycopg.connect(make_conninfo(**database.conninfo(settings))) as connection:
        values = connection.cursor(row_factory=scalar_row)
        versioned = values.execute("SELECT to_regclass('alembic_version')").fetchone()
        current = values.execute(revisions.CURRENT).fetchall() if versioned else []
    return revisions.distance(current)
