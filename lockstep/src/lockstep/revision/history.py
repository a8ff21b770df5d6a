"""What was applied to a database, when and by whom; and its source, for the way down without the file."""

from __future__ import annotations

import getpass
import json
import socket
import zlib
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from alembic.util import to_tuple

from lockstep.postgres import catalog

if TYPE_CHECKING:
    from alembic.script import Script
    from sqlalchemy.engine import Connection

CREATE = """
CREATE TABLE IF NOT EXISTS lockstep.applied (
    version_table text NOT NULL,
    revision text NOT NULL,
    direction text NOT NULL,
    seconds double precision NOT NULL,
    message text NOT NULL,
    role text NOT NULL DEFAULT session_user,
    os_user text NOT NULL,
    host text NOT NULL,
    after text NOT NULL,
    file text NOT NULL,
    source bytea,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


@dataclass(frozen=True)
class Applied:
    """A revision that was applied, or taken back."""

    revision: str
    direction: str
    """upgrade, downgrade or stamp."""
    applied_at: str
    seconds: float
    role: str
    os_user: str
    host: str
    message: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Kept:
    """A revision's file as it was when it was applied."""

    revision: str
    message: str
    after: list[str]
    """The revisions that it stands on."""
    file: str
    source: bytes | None = field(repr=False)
    """None where it was not to be kept."""


def statement(
    version_table: str, script: Script, direction: str, seconds: float, source: bytes | None
) -> str:
    """What writes down that a revision was applied, in the transaction of the version table.

    Without parameters and without a %, whoever sends it: it is put before a statement of Alembic's. To plan a
    dozen parameters takes a third as long as all of what Alembic does there.
    """
    values = (
        version_table, script.revision, direction, (script.doc or "").partition("\n")[0], _os_user(), _host(),
        json.dumps([*to_tuple(script.down_revision, ()), *to_tuple(script.dependencies, ())]),
        script.path.replace("\\", "/").rpartition("/")[2],
    )  # fmt: skip
    kept = "NULL" if source is None else f"'\\x{zlib.compress(source, 1).hex()}'"
    return (
        "INSERT INTO lockstep.applied "
        "(version_table, revision, direction, message, os_user, host, after, file, seconds, source) "
        f"VALUES ({', '.join(map(_literal, values))}, {seconds:.6f}, {kept})"
    )


def _literal(text: str) -> str:
    """An SQL constant without a %, which a driver may take for a parameter."""
    if "%" not in text:
        return catalog.literal(text)
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("%", "\\x25")
    return f"E'{escaped}'"


@cache
def _host() -> str:
    return socket.gethostname()


@cache
def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


def _is_kept(connection: Connection) -> bool:
    """Whether there is a history, and this role may read it."""
    return bool(
        catalog.scalar(
            connection,
            "SELECT has_schema_privilege(to_regnamespace('lockstep'), 'USAGE') "
            "AND has_table_privilege(to_regclass('lockstep.applied'), 'SELECT')",
        )
    )


def read(connection: Connection, version_table: str) -> list[Applied]:
    """What was applied, the last one at the end; nothing where nothing was written down."""
    if not _is_kept(connection):
        return []
    found = catalog.rows(
        connection,
        "SELECT revision, direction, "
        "to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "
        "seconds, role, os_user, host, message "
        "FROM lockstep.applied WHERE version_table = %(name)s ORDER BY lockstep.applied.applied_at, revision",
        name=version_table,
    )
    return [Applied(*row) for row in found]


def kept(connection: Connection, version_table: str) -> dict[str, Kept]:
    """The sources of the revisions, each as it was when it was last applied."""
    if not _is_kept(connection):
        return {}
    found = catalog.rows(
        connection,
        "SELECT DISTINCT ON (revision) revision, message, after, file, source FROM lockstep.applied "
        "WHERE version_table = %(name)s AND direction <> 'downgrade' ORDER BY revision, applied_at DESC",
        name=version_table,
    )
    return {
        row.revision: Kept(
            row.revision, row.message, json.loads(row.after), row.file,
            None if row.source is None else zlib.decompress(bytes(row.source)),
        )
        for row in found
    }  # fmt: skip
