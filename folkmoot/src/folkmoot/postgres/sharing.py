"""The embedded PostgreSQL: a server in the data folder, started by whoever needs it first.

Every process that uses the server holds a shared lock on a file beside it; the last one to leave stops it.
The kernel drops the locks of a process that is killed, so nothing has to be tidied up after a SIGKILL, and
PostgreSQL's own recovery brings back all that was acknowledged.
"""

from __future__ import annotations

import fcntl
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from folkmoot.postgres.server import VERSION, Server, ServerError
from folkmoot.settings import kept_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from folkmoot.settings import Settings

ROLE = DATABASE = "folkmoot"
#: Who serves: it reads and writes rows. ROLE owns the tables, migrates them, and is the superuser.
SERVICE = "folkmoot_service"
_GRANTS = f"""
    GRANT USAGE ON SCHEMA public TO {SERVICE};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {SERVICE};
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {SERVICE};
    REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {SERVICE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {ROLE} IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {SERVICE};
    ALTER DEFAULT PRIVILEGES FOR ROLE {ROLE} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {SERVICE};
"""
# Where a revision is half done, the service says so.
_GRANTS_ON_LOCKSTEP = f"""
    GRANT USAGE ON SCHEMA lockstep TO {SERVICE};
    GRANT SELECT ON ALL TABLES IN SCHEMA lockstep TO {SERVICE};
"""


def conninfo(settings: Settings, role: str = ROLE) -> dict[str, str]:
    """The libpq parameters of the embedded database; its server must be running."""
    server = _server(settings)
    port = server.running_port()
    if port is None:
        raise ServerError(f"no embedded PostgreSQL is running in {settings.data_dir}")
    return {"host": str(server.socket_folder), "port": str(port), "user": role, "dbname": DATABASE}


@contextmanager
def running(settings: Settings) -> Iterator[Server]:
    """Keep the embedded server running for the length of the block: made, started or shared as needed.

    Raises ServerError with the reason where that cannot be.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = (folder / "users").open("a")
    except OSError as error:
        raise ServerError(f"FOLKMOOT_DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    with users:
        with _turn(folder):
            server = _server(settings)
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                _start(server, settings)
            except BaseException:
                _leave(server, users.fileno())
                raise
        try:
            yield server
        finally:
            with _turn(folder):
                _leave(server, users.fileno())


def let_serve(settings: Settings) -> None:
    """Make the role that serves, and let it read and write the rows of a migrated database.

    Nothing happens where it may already.
    """
    with _turn(settings.data_dir), psycopg.connect(make_conninfo(**conninfo(settings))) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [SERVICE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(SERVICE)))
        connection.execute(_GRANTS.encode())
        if connection.execute("SELECT to_regnamespace('lockstep')").fetchone() != (None,):
            connection.execute(_GRANTS_ON_LOCKSTEP.encode())


def revive(server: Server, settings: Settings) -> bool:
    """Start the server again if it died; whether it had to be."""
    if server.running_port() is not None:
        return False
    with _turn(settings.data_dir):
        if server.running_port() is None:
            _start(server, settings)
            return True
    return False


def _server(settings: Settings) -> Server:
    return Server(settings.data_dir / f"postgresql-{VERSION}", port=settings.folkmoot_embedded_port or 5432)


def _start(server: Server, settings: Settings) -> None:
    wanted = settings.folkmoot_embedded_port
    port = server.running_port()
    if port is not None:
        if wanted and port != wanted:
            raise ServerError(
                f"FOLKMOOT_EMBEDDED_PORT: the server in {settings.data_dir} is already running without port "
                f"{wanted}; stop what uses it first"
            )
        try:
            server.connect(ROLE).close()
        except ServerError:
            if server.running_port() is not None:
                raise
        else:
            return  # else it was seen in its last moments, and starts anew
    server.create(ROLE)
    if server.log.exists() and server.log.stat().st_size > 10_000_000:
        server.log.unlink()
    if wanted and not _is_free(wanted):
        raise ServerError(f"FOLKMOOT_EMBEDDED_PORT: {wanted} is in use by another program")
    server.start([f"listen_addresses={'127.0.0.1' if wanted else ''}", "max_connections=200"])
    with server.connect(ROLE) as connection:
        if wanted:
            password = sql.Literal(kept_secret(settings.data_dir / "password"))
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), password))
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _leave(server: Server, users: int) -> None:
    """Stop the server if nobody else uses it."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(users, fcntl.LOCK_UN)
        return
    if (server.data / "postmaster.pid").exists():
        with suppress(ServerError):  # it died by itself
            server.stop()


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One process at a time starts or stops the server."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
