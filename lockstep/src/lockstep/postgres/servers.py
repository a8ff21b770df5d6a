"""Which server and database a connection has come to, and how another connection gets to the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lockstep.errors import LockstepError
from lockstep.postgres import catalog

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


#: Where a connection's ``info`` keeps what it has come to.
_DATABASE = "lockstep_database"
_PID = "lockstep_backend_pid"


@dataclass(frozen=True)
class Database:
    """A database of a running server, as two connections can be compared by it.

    Addresses are left out: one server is reached by several.
    """

    system_identifier: str
    """What initdb has drawn; "" where the role may not call pg_control_system()."""
    started: str
    """When the server was started, in microseconds: a replica has the primary's system identifier."""
    name: str
    oid: int

    def is_same_as(self, other: Database) -> bool:
        known = bool(self.system_identifier and other.system_identifier)
        return (self.started, self.name, self.oid) == (other.started, other.name, other.oid) and (
            not known or self.system_identifier == other.system_identifier
        )

    def __str__(self) -> str:
        return (
            f'database "{self.name}" of the server {self.system_identifier or "started at " + self.started}'
        )


def database_of(connection: Connection) -> Database:
    """Where the connection has come to, over any driver; asked once in its life."""
    known: Database | None = connection.info.get(_DATABASE)
    if known is None:
        known = connection.info[_DATABASE] = _ask(connection)
    return known


def backend_pid(connection: Connection) -> int:
    """The process of the server that serves the connection; asked once in its life. A pooler in transaction
    mode, behind which it changes, is refused.
    """
    known: int | None = connection.info.get(_PID)
    if known is None:
        known = connection.info[_PID] = int(catalog.scalar(connection, "SELECT pg_backend_pid()"))
    return known


def _ask(connection: Connection) -> Database:
    permitted = connection.exec_driver_sql(
        "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
    ).scalar()
    identifier = "(SELECT system_identifier FROM pg_control_system())" if permitted else "''"
    found = connection.exec_driver_sql(
        f"""
        SELECT {identifier}::text AS identifier,
               (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text AS started,
               datname AS name, oid::bigint AS oid
        FROM pg_database WHERE datname = current_database()
        """
    ).one()
    return Database(found.identifier, found.started, found.name, found.oid)


def connect_again(engine: Engine, here: Database) -> Connection:
    """Another session of the database ``here``, in autocommit mode, opened the way that the engine opens its
    own: by its creator, its connect_args and its listeners. The caller closes it, which ends the session.

    Raises LockstepError where it comes to another server or database, as one of several hosts may be.
    """
    again = sa.create_engine(URL.create(f"postgresql+{engine.dialect.driver}"), pool=engine.pool.recreate())
    other = again.connect().execution_options(isolation_level="AUTOCOMMIT")
    other.detach()
    try:
        there = database_of(other)
    except BaseException:
        other.close()
        raise
    if here.is_same_as(there):
        return other
    other.close()
    raise LockstepError(
        f"a second connection came to {there}, the first one to {here}: name one host in the URL"
    )


def another_connection(connection: Connection) -> Connection:
    """As connect_again(), with the role and the settings that the session at hand has.

    Raises LockstepError where it can't have them.
    """
    who = "SELECT session_user::text, current_setting('role')"
    settings = catalog.rows(
        connection,
        "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT LIKE 'transaction%%'",
    )
    user, role = catalog.rows(connection, who)[0]
    other = connect_again(connection.engine, database_of(connection))
    try:
        for name, setting in [*settings, ("role", role)]:
            catalog.scalar(other, "SELECT set_config(%(name)s, %(value)s, false)", name=name, value=setting)
        same = tuple(catalog.rows(other, who)[0]) == (user, role)
    except BaseException:
        other.close()
        raise
    if same:
        return other
    other.close()
    raise LockstepError(f"a second connection is not {user}'s")
