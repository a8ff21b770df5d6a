"""A database of its own to run revisions in, and every connection of this process led to it.

An env.py connects as it likes; what it has been told to connect to is replaced where SQLAlchemy connects
(``DialectEvents.do_connect``), and looked at once more on each new connection. So it works for an env.py that
has never heard of Lockstep, and never runs anything on the database that the env.py names.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool

from lockstep.errors import LockstepError
from lockstep.postgres.catalog import literal, quote
from lockstep.postgres.session import execute, sqlstate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection, Dialect


class MayNotError(LockstepError):
    """The role may not create a database."""


#: What the names of such databases begin with: one that a killed command left behind may be dropped.
PREFIX = "lockstep_scratch_"

_DISCONNECT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}"


def name() -> str:
    """A name that no database has."""
    return PREFIX + secrets.token_hex(6)


def create(connection: Connection, database: str, template: str = "template0") -> None:
    """Create a database on the server of a connection: an empty one, or a copy of another scratch database,
    from which whoever is connected to it is thrown out.

    MayNotError where the role may not, or reads only.
    """
    try:
        if template.startswith(PREFIX):
            _do(connection, _DISCONNECT.format(literal(template)))
        _do(connection, f"CREATE DATABASE {quote(database)} TEMPLATE {quote(template)}")
    except DBAPIError as error:
        if sqlstate(error) not in {"42501", "25006"}:
            raise
        raise MayNotError(
            "the role may not create the database in which revisions are tried: pip install "
            "'alembic-lockstep[embedded]', name another server's database with --server, or ALTER ROLE … "
            "CREATEDB"
        ) from error


def drop(connection: Connection, database: str) -> None:
    """Drop such a database, whoever is still connected to it."""
    _do(connection, f"DROP DATABASE IF EXISTS {quote(database)} WITH (FORCE)")


def _do(connection: Connection, statement: str) -> None:
    with connection.engine.connect() as another:
        execute(another.execution_options(isolation_level="AUTOCOMMIT"), statement)


@contextmanager
def led_to(database: str | None, server: URL | None) -> Iterator[None]:
    """Let every engine of this process connect to this database: on the server that it connects to anyway, or
    on the one of this URL. Without a database, to the one that the URL or the engine names.
    """

    def lead(dialect: Dialect, _record: Any, positional: list[Any], named: dict[str, Any]) -> None:
        if dialect.name != "postgresql":
            raise LockstepError(f"Lockstep is for PostgreSQL; env.py connects to {dialect.name}")
        if server is not None:
            positional[:], arguments = dialect.create_connect_args(server)
            named.clear()
            named.update(arguments)
        if database is not None:
            named["database" if dialect.driver in {"asyncpg", "pg8000"} else "dbname"] = database

    def look(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT current_database()")
        (reached,) = cursor.fetchone()
        if database is not None and reached == database:  # whatever PGOPTIONS says of the target
            cursor.execute("SET default_transaction_read_only = off")
        cursor.close()
        connection.commit()
        if database is not None and reached != database:
            raise LockstepError(
                "env.py connects in a way of its own (a creator), which cannot be led to another database: "
                "let it use a URL, or config.attributes"
            )

    sa.event.listen(Engine, "do_connect", lead)
    sa.event.listen(Pool, "connect", look)
    try:
        yield
    finally:
        sa.event.remove(Engine, "do_connect", lead)
        sa.event.remove(Pool, "connect", look)
