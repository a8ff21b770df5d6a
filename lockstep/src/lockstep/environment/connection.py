"""How an env.py's URL, engine or connection becomes the connection that migrates."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from lockstep.environment import other_drivers
from lockstep.environment.failures import one_line
from lockstep.errors import LockstepError
from lockstep.postgres.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What psycopg is given besides the URL, as far as that says nothing of it. A server that vanished without a
#: word is given up within a minute.
_ARGUMENTS = {
    "application_name": "lockstep",
    "keepalives_idle": "15", "keepalives_interval": "10", "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}  # fmt: skip


def synchronous(url: URL) -> URL:
    """The URL for psycopg, libpq's parameter names in place of another driver's.

    Raises LockstepError for another database, and for an option that psycopg has no counterpart of.
    """
    backend, _, driver = url.drivername.partition("+")
    if backend not in {"postgresql", "postgres"}:
        raise LockstepError(f"Lockstep is for PostgreSQL; the URL names {url.drivername}")
    query = dict(url.query)
    if driver not in other_drivers.LIBPQ:
        query = other_drivers.libpq_arguments(query)
    return url.set(drivername="postgresql+psycopg", query=query)


@contextmanager
def connected_to(url: str | URL | None, connection: Any) -> Iterator[Connection]:
    """The connection to migrate over.

    A connection over psycopg, or one with an open transaction, is used as it is. An engine over psycopg
    connects. For another driver's engine psycopg connects to the database that the engine reaches by its own
    way (creator, connect_args, listeners); LockstepError where it can't. Otherwise psycopg connects to the
    URL.
    """
    # An AsyncConnection or AsyncEngine; its module cannot be imported where greenlet is not installed.
    connection = getattr(connection, "sync_connection", None) or getattr(
        connection, "sync_engine", connection
    )
    if isinstance(connection, Connection) and (connection.in_transaction() or _migrates(connection.dialect)):
        yield connection
        return
    with _connected(_engine(url, connection)) as connected:
        yield connected


def is_asyncpg(url: str | URL | None, connection: Any) -> bool:
    """Whether the project runs on asyncpg: its revisions are written for that driver."""
    if connection is not None:
        return bool(connection.dialect.driver == "asyncpg")
    return url is not None and _parsed(url).drivername == "postgresql+asyncpg"


def _migrates(dialect: sa.Dialect) -> bool:
    return dialect.name == "postgresql" and dialect.driver == "psycopg" and not dialect.is_async


def _engine(url: str | URL | None, connection: Connection | Engine | None) -> Engine:
    if connection is None:
        given = _parsed(url or "")
        parsed = synchronous(given)
        driver = given.get_driver_name() if given.drivername != "postgres" else "psycopg2"
        arguments = {key: value for key, value in _ARGUMENTS.items() if key not in parsed.query}
        arguments |= other_drivers.arguments_of(driver)
        engine = sa.create_engine(parsed, poolclass=sa.pool.NullPool, connect_args=arguments)
        return other_drivers.written_for(driver, engine)
    if connection.dialect.name != "postgresql":
        raise LockstepError(f"Lockstep is for PostgreSQL; the engine is for {connection.dialect.name}")
    if isinstance(connection, Engine) and _migrates(connection.dialect):
        return connection
    return other_drivers.engine_like(connection.engine)


def _parsed(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its message may hold the password
        raise LockstepError(
            "the URL cannot be read; it should be like postgresql://user@host/database"
        ) from None


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except DBAPIError as error:
        url = engine.url
        where = url.set(password=None).render_as_string() if url.host or url.query else "the database"
        raise LockstepError(without_secrets(f"cannot connect to {where}: {one_line(error)}")) from None
