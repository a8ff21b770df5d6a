"""Taking a backup: complete or absent, of one moment, while people go on writing."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row, scalar_row

from folkmoot.backups import manifest, programs, rows
from folkmoot.backups.errors import BackupError
from folkmoot.postgres import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: What a backup is called until it is complete.
UNFINISHED = ".unfinished-"
_ROLES = """
    SELECT DISTINCT r.rolname::text
      FROM (SELECT relowner AS owner, relacl AS acl FROM pg_class
            UNION ALL SELECT c.relowner, a.attacl
                        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
            UNION ALL SELECT nspowner, nspacl FROM pg_namespace
            UNION ALL SELECT proowner, proacl FROM pg_proc
            UNION ALL SELECT 0, defaclacl FROM pg_default_acl) AS granted
     CROSS JOIN LATERAL aclexplode(acl) AS a
      JOIN pg_roles AS r ON r.oid = a.grantee OR (granted.owner = 0 AND r.oid = a.grantor)
     WHERE r.oid <> granted.owner AND NOT starts_with(r.rolname::text, 'pg_') AND r.oid <> 10 ORDER BY 1
"""


def take(conninfo: Mapping[str, str], folder: Path, *, jobs: int = 1, privileges: bool = True) -> Path:
    """Write a backup of the database into a new folder in ``folder``, named by its moment, and return it.

    Raises BackupError, and leaves nothing behind, where it could not be completed.
    """
    try:
        with (
            psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection,
            _unfinished(folder) as unfinished,
        ):
            rows.prepare(connection)
            found = _dump(connection, conninfo, unfinished, jobs, privileges=privileges)
            manifest.write(unfinished, found)
            finished = folder / datetime.fromisoformat(found.taken_at).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
            _sync(unfinished)
            unfinished.rename(finished)
            _sync(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _full(folder) from None
        raise BackupError(f"{folder} cannot be written: {error.strerror}.") from None
    except BackupError as error:
        if programs.FULL in str(error):
            raise _full(folder) from None
        raise
    except psycopg.errors.LockNotAvailable:
        raise BackupError(
            "Somebody changes the schema and holds a table for longer than a minute: try again afterwards. "
            "Nothing was left."
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise BackupError(
            f"A backup reads every table, and the role may not: {error.diag.message_primary}."
        ) from None
    return finished


def _dump(
    connection: psycopg.Connection,
    conninfo: Mapping[str, str],
    folder: Path,
    jobs: int,
    *,
    privileges: bool,
) -> manifest.Manifest:
    values = connection.cursor(row_factory=scalar_row)
    major = connection.info.server_version // 10000
    pg_dump = programs.choose("pg_dump", major)
    with _moment(connection) as (snapshot, tables):
        options = (
            "--format=directory", f"--file={folder / manifest.DUMP}", f"--snapshot={snapshot}",
            f"--jobs={jobs}",
            # gzip: every pg_restore reads it, and the embedded one nothing else.
            "--compress=1", "--no-unlogged-table-data", "--lock-wait-timeout=60s",
            *([] if privileges else ["--no-privileges"]),
        )  # fmt: skip
        dumping = programs.run(pg_dump, *options, conninfo=conninfo)
        try:
            counted = {str(table): rows.count(connection, table) for table in tables}
            versioned = values.execute("SELECT to_regclass('alembic_version')").fetchone()
            current = values.execute(revisions.CURRENT).fetchall() if versioned else []
            ledger = values.execute("SELECT to_regclass('lockstep.revision')").fetchone()
            underway = connection.cursor(row_factory=class_row(revisions.Underway))
            half_done = underway.execute(revisions.UNDERWAY).fetchall() if ledger else []
            taken_at = values.execute("SELECT transaction_timestamp()").fetchone()
            server = values.execute("SHOW server_version").fetchone()
            roles = values.execute(_ROLES).fetchall() if privileges else []
        except BaseException:
            dumping.terminate()
            dumping.communicate()
            raise
        programs.ended(dumping)
    return manifest.Manifest(
        taken_at=taken_at.astimezone(UTC).isoformat() if taken_at else "",
        folkmoot=version("folkmoot"),
        server=str(server),
        pg_dump=programs.version(pg_dump),
        revisions=current,
        half_done=[f"{each.direction} of {each.revision}" for each in half_done],
        roles=roles,
        rows=counted,
        files=manifest.files(folder / manifest.DUMP),
    )


@contextmanager
def _moment(connection: psycopg.Connection) -> Iterator[tuple[str, list[rows.Table]]]:
    """A snapshot of the database that pg_dump can share, and the tables that it has, until the end.

    The tables are locked (against those who change them, nobody else) before the snapshot is taken: one that
    is rewritten in between would look empty in it.
    """
    for _ in range(10):
        listed = rows.tables(connection)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if listed:
                names = sql.SQL(", ").join(table.identifier for table in listed)
                connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(names))
            snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
            if snapshot and rows.tables(connection) == listed:
                yield snapshot[0], listed
                return
    raise BackupError("The schema changes all the time: try again when the migration is done.")


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A new folder, removed at the end where it is still there; what killed backups have left is, too."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError), _held(left):
            shutil.rmtree(left)
    made = folder / f"{UNFINISHED}{os.urandom(6).hex()}"
    made.mkdir(mode=0o700)
    try:
        with _held(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Whoever writes a backup holds its folder; BlockingIOError where somebody does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _full(folder: Path) -> BackupError:
    return BackupError(f"The disk of {folder} is full: the backup was given up, and nothing of it is left.")
