"""How an env.py's URL, engine or connection becomes the connection that migrates."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The drivers that migrations run over; a URL of another one is given psycopg.
_DRIVERS = {"psycopg", "psycopg2"}


#: What asyncpg takes in a URL and libpq does not know.
_ASYNCPG_ONLY = {
    "prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size", "async_fallback",
    "command_timeout", "max_cached_statement_lifetime", "max_cacheable_statement_size", "timeout",
}  # fmt: skip


def synchronous(url: URL) -> URL:
    """The URL for a driver that Alembic can run over, libpq's parameter names in place of asyncpg's."""
    if not url.drivername.startswith(("postgresql", "postgres")):
        raise LockstepError(f"Lockstep is for PostgreSQL; the URL names {url.drivername}")
    driver = url.drivername.partition("+")[2]
    if driver in _DRIVERS:
        return url
    query = {key: value for key, value in url.query.items() if key not in _ASYNCPG_ONLY}
    if "ssl" in query:
        mode = query.pop("ssl")
        query["sslmode"] = {"true": "require", "false": "disable"}.get(str(mode).lower(), mode)
    return url.set(drivername="postgresql+psycopg", query=query)


@contextmanager
def connected_to(url: str | URL | None, connection: Any) -> Iterator[Connection]:
    # An AsyncConnection or AsyncEngine; its module cannot be imported where greenlet is not installed.
    connection = getattr(connection, "sync_connection", None) or getattr(
        connection, "sync_engine", connection
    )
    if isinstance(connection, Connection) and (
        connection.dialect.driver in _DRIVERS or connection.in_transaction()
    ):
        yield connection
        return
    if isinstance(connection, Engine) and connection.dialect.driver in _DRIVERS:
        with connection.connect() as connected:
            yield connected
        return
    if connection is not None:
        url = connection.engine.url
    engine = sa.create_engine(
        synchronous(make_url(url or "")),
        poolclass=sa.pool.NullPool,
        connect_args={"application_name": "lockstep"},
    )
    try:
        connected = engine.connect()
    except DBAPIError as error:
        where = engine.url.set(password=None).render_as_string()
        raise LockstepError(f"cannot connect to {where}: {str(error.orig).strip()}") from None
    with connected:
        yield connected
