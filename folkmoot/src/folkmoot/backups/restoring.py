"""Bringing a backup back into an empty database, whole or not at all; and trying whether it could be."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import scalar_row

from folkmoot.backups import manifest, programs, rows
from folkmoot.backups.errors import BackupError
from folkmoot.postgres import revisions
from folkmoot.postgres.models import Base
from lockstep.commands import overview
from lockstep.errors import LockstepError
from lockstep.postgres import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: What begins the name of a database in which a backup is tried.
SCRATCH = "folkmoot_check_"
_PRESENT = """
    SELECT format('%I.%I', n.nspname, c.relname)
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_') AND c.relkind <> 'i'
       AND NOT EXISTS (SELECT FROM pg_depend AS d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY c.relkind IN ('r', 'p') DESC, 1 LIMIT 4
"""
# One that a killed check has left; somebody is connected to each other one.
_LEFT = """
    SELECT datname FROM pg_database AS d
     WHERE starts_with(datname, %s) AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid)
"""


def restore(
    conninfo: Mapping[str, str], folder: Path, backup: manifest.Manifest, *, privileges: bool = True
) -> None:
    """Restore a backup into an empty database, in one transaction; BackupError where that cannot be.

    Whatever stops it, the database is empty afterwards, or has everything.
    """
    with psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection:
        values = connection.cursor(row_factory=scalar_row)
        if present := values.execute(_PRESENT).fetchall():
            shown = ", ".join(present[:3]) + (" …" if present[3:] else "")
            raise BackupError(
                f"The database {connection.info.dbname} is not empty ({shown}), and a backup is restored "
                "into an empty one only: make one (createdb) and name it in DATABASE_URL; with the embedded "
                "database, name a new folder in FOLKMOOT_DATA_DIR."
            )
        if privileges:
            known = values.execute("SELECT rolname::text FROM pg_roles").fetchall()
            if missing := [role for role in backup.roles if role not in known]:
                raise BackupError(
                    f"The backup grants rights to {', '.join(missing)}, and there is no such role: CREATE "
                    "ROLE first, or restore without rights (--no-privileges)."
                )
        major = connection.info.server_version // 10000
    # It reads what an older pg_dump wrote, and not what a newer one did.
    pg_restore = programs.choose("pg_restore", max(major, programs.major_of(backup.pg_dump)))
    options = (
        "--format=directory", "--single-transaction", "--exit-on-error", "--no-owner",
        *([] if privileges else ["--no-privileges"]), str(folder / manifest.DUMP),
    )  # fmt: skip
    programs.ended(programs.run(pg_restore, *options, conninfo=conninfo))
    with psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("ANALYZE")  # the statistics of words, among others, which search goes by


def differing(connection: psycopg.Connection, backup: manifest.Manifest) -> list[str]:
    """The tables whose rows are not those that were backed up, a line each. In autocommit mode."""
    rows.prepare(connection)
    found = {str(table): rows.count(connection, table) for table in rows.tables(connection)}
    wrong = [f"{name}: not there" for name in backup.rows.keys() - found.keys()]
    wrong += [f"{name}: not of the backup" for name in found.keys() - backup.rows.keys()]
    for name in found.keys() & backup.rows.keys():
        had, has = backup.rows[name], found[name]
        if had.number != has.number:
            wrong.append(f"{name}: {has.number} rows, of {had.number}")
        elif had != has:
            wrong.append(f"{name}: {had.number} rows, and other ones")
    return sorted(wrong)


def schema_differences(conninfo: Mapping[str, str], ignored: Sequence[str]) -> list[str]:
    """What `lockstep verify` says of the database: nothing where it is as its revision's snapshot."""
    parameters = dict(conninfo)
    user, password, name = (parameters.pop(key, None) for key in ("user", "password", "dbname"))
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", username=user, password=password, database=name, query=parameters
    )
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        at_head = revisions.distance(connection.exec_driver_sql(revisions.CURRENT).scalars()).missing == ()
        try:
            seen = overview.overview(
                connection,
                revisions.scripts(),
                metadata=Base.metadata if at_head else None,
                ignored=ignored,
                compare_server_default=True,
            )
        except LockstepError as error:
            return [str(error)]
    found = [str(each) for each in seen.drift or []] + [f"models: {each}" for each in seen.models or []]
    return found + (seen.unread if seen.drift is None else [])


@contextmanager
def beside(conninfo: Mapping[str, str] | None, backup: manifest.Manifest) -> Iterator[dict[str, str]]:
    """An empty database for a moment: on this server, or on an embedded one where there is none or the role
    may not create databases. Nothing of it stays.
    """
    if conninfo is not None:
        with psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection:
            values = connection.cursor(row_factory=scalar_row)
            for left in values.execute(_LEFT, [SCRATCH]).fetchall():
                _drop(connection, left)
            name = f"{SCRATCH}{os.urandom(6).hex()}"
            try:
                created = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
                connection.execute(created)
            except errors.InsufficientPrivilege:
                name = ""
            if name:
                try:
                    here = {**conninfo, "dbname": name}
                    with psycopg.connect(make_conninfo(**here), autocommit=True):  # it is in use until here
                        yield here
                finally:
                    _drop(connection, name)
                return
    try:
        with embedded.server("folkmoot") as url:
            here = {"host": str(url.query["host"]), "user": "folkmoot", "dbname": "folkmoot"}
            at_first = make_conninfo(**{**here, "dbname": "postgres"})
            with psycopg.connect(at_first, autocommit=True) as connection:
                for role in {*backup.roles} - {"folkmoot"}:
                    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
                connection.execute("CREATE DATABASE folkmoot TEMPLATE template0")
            yield here
    except LockstepError as error:
        raise BackupError(f"The backup cannot be tried: {error}.") from None


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
