"""What an ``env.py`` calls: connects, lets one migrator at a time through, runs Alembic by these rules."""

from __future__ import annotations

import functools
import logging
import random
import time
from contextlib import contextmanager, suppress
from logging.config import fileConfig
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import RevisionStep
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from lockstep import catalog, operations, recovery, status
from lockstep.errors import LockstepError
from lockstep.ledger import SCHEMA, Ledger
from lockstep.migrator import Migrator
from lockstep.steps import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logging.getLogger("alembic.lockstep")

#: The drivers that migrations run over; a URL of another one is given psycopg.
_DRIVERS = {"psycopg", "psycopg2"}

#: What asyncpg takes in a URL and libpq does not know.
_ASYNCPG_ONLY = {
    "prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size", "async_fallback",
    "command_timeout", "max_cached_statement_lifetime", "max_cacheable_statement_size", "timeout",
}  # fmt: skip


def run(
    *,
    url: str | URL | None = None,
    connection: Connection | Engine | AsyncConnection | AsyncEngine | None = None,
    target_metadata: Any = None,
    pace: Pace | None = None,
    short_way: bool = True,
    **configure: Any,
) -> None:
    """Run the command that Alembic was called with, from ``env.py``; this is all that ``env.py`` needs.

    The database is ``connection``, or ``config.attributes["connection"]`` (Alembic's convention for callers),
    or ``url``, or ``sqlalchemy.url`` of the ini file. psycopg connects to the URL of an asynchronous driver.
    On a connection with an open transaction everything runs as plain Alembic, inside it, and the caller
    commits. ``configure`` is passed on to Alembic's ``context.configure()``.

    ``pace`` says how gently to go (see Pace). With ``short_way=False`` empty tables are changed like filled
    ones.

    Holds a session advisory lock while it upgrades, downgrades or stamps: one migrator at a time; the others
    wait. Commits after every step. Raises LockstepError, which Alembic prints as one line.
    """
    _configure_logging(context.config)
    connection = connection if connection is not None else context.config.attributes.get("connection")
    if url is None and connection is None:
        url = context.config.get_main_option("sqlalchemy.url")
    if url is None and connection is None:
        raise LockstepError("lockstep.run() takes url=… or connection=…, or sqlalchemy.url in the ini file")
    configure["target_metadata"] = target_metadata
    _hide_own_schema(configure)
    version_table = (
        f"{configure.get('version_table_schema') or ''}.{configure.get('version_table', 'alembic_version')}"
    )
    migrator = Migrator(pace or Pace(), Ledger(version_table), short_way=short_way)
    if context.is_offline_mode():
        _run_offline(url, migrator, configure)
        return
    with _connected(url, connection) as connected:
        if connected.in_transaction():
            log.info("the caller's transaction is open: running as plain Alembic, inside it")
            context.configure(connection=connected, **configure)
            with context.begin_transaction():
                context.run_migrations()
            return
        _run_online(connected, migrator, configure)


def _configure_logging(config: Config) -> None:
    """Let the alembic command show what goes on, by its ini file or else plainly; not where a program runs
    Alembic itself or has set up logging.
    """
    logger = logging.getLogger("alembic")
    handlers = [*logging.getLogger().handlers, *logger.handlers]
    if config.cmd_opts is None or not all(isinstance(h, logging.NullHandler) for h in handlers):
        return
    if config.file_config.has_section("loggers") and config.config_file_name:
        fileConfig(config.config_file_name, disable_existing_loggers=False)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)-5.5s [%(name)s] %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _hide_own_schema(configure: dict[str, Any]) -> None:
    """Autogenerate with include_schemas must not propose to drop Lockstep's tables."""
    wanted: Callable[..., bool] | None = configure.get("include_name")

    def include_name(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema" and name is not None and name.startswith(SCHEMA):
            return False
        return wanted is None or wanted(name, kind, parents)

    configure["include_name"] = include_name


def _run_offline(url: str | URL | None, migrator: Migrator, configure: dict[str, Any]) -> None:
    configure.setdefault("literal_binds", True)
    configure.setdefault("dialect_opts", {"paramstyle": "named"})
    if url is None:
        configure.setdefault("dialect_name", "postgresql")
    else:
        configure["url"] = _synchronous(make_url(url)).render_as_string(hide_password=False)
    _configure(migrator, configure)
    with context.begin_transaction():
        context.run_migrations()


def _run_online(connected: Connection, migrator: Migrator, configure: dict[str, Any]) -> None:
    _configure(migrator, {**configure, "connection": connected, "transaction_per_migration": True})
    if "destination_rev" not in context.get_context().opts:
        tell_status(connected, migrator.ledger.version_table)
        with context.begin_transaction():
            context.run_migrations()
        return
    with _only_migrator(connected, migrator.ledger.version_table), migrator.listener.on(connected):
        with connected.begin():
            migrator.ledger.create(connected)
        tell_status(connected, migrator.ledger.version_table)
        with context.begin_transaction():
            context.run_migrations()
        if connected.in_transaction():
            connected.commit()


def tell_status(connected: Connection, version_table: str) -> None:
    """Log in a line each what is half done and what is kept."""
    with connected.begin():
        for line in status.lines(status.status(connected, version_table, ())):
            log.info("%s", line)


def _configure(migrator: Migrator, configure: dict[str, Any]) -> None:
    # What the command came to do. configure() may replace it, but nothing public tells what it is.
    proxied: EnvironmentContext = context._proxy  # type: ignore[attr-defined]  # noqa: SLF001
    original: Callable[..., Iterable[Any]] = proxied.context_opts["fn"]

    def steps(rev: Any, migration_context: Any) -> Iterator[Any]:
        planned = (
            original(rev, migration_context)
            if migrator.offline or "destination_rev" not in migration_context.opts
            else recovery.plan(migrator, migration_context, rev, original)
        )
        for step in planned:
            if isinstance(step, RevisionStep):
                revision = step.migration_fn
                # Alembic logs a step by its function's name.
                step.migration_fn = functools.update_wrapper(
                    functools.partial(migrator.migrate, step, revision), revision
                )
            yield step

    hooks = configure.get("on_version_apply", ())
    configure["on_version_apply"] = (
        *(hooks if isinstance(hooks, tuple | list) else (hooks,)),
        migrator.finish,
    )
    context.configure(**{**configure, "fn": steps, operations.OPTION: migrator})
    migrator.context = context.get_context()


# -- connections ----------------------------------------------------------------------------------------


def _synchronous(url: URL) -> URL:
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
def _connected(url: str | URL | None, connection: Any) -> Iterator[Connection]:
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
        _synchronous(make_url(url or "")),
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


# -- one migrator at a time -----------------------------------------------------------------------------


@contextmanager
def _only_migrator(connected: Connection, version_table: str) -> Iterator[None]:
    """Hold the advisory lock of this version table.

    It is polled, holding no snapshot in between: a blocked pg_advisory_lock() and CREATE INDEX CONCURRENTLY
    would wait for each other.
    """
    _refuse_transaction_pooling(connected)
    keys = {"lock": f"lockstep {version_table}"}
    told = False
    while True:
        with connected.begin():
            if catalog.scalar(
                connected, "SELECT pg_try_advisory_lock(hashtextextended(%(lock)s, 0))", **keys
            ):
                break
            if not told:
                _tell_who_migrates(connected, keys["lock"])
                told = True
        time.sleep(random.uniform(0.1, 0.3))  # noqa: S311
    if told:
        log.info("the other migrator is done")
    try:
        yield
    finally:
        with suppress(DBAPIError):
            if connected.in_transaction():
                connected.rollback()
            with connected.begin():
                catalog.scalar(connected, "SELECT pg_advisory_unlock(hashtextextended(%(lock)s, 0))", **keys)


def _tell_who_migrates(connected: Connection, lock: str) -> None:
    for pid, user, since, client in catalog.rows(
        connected,
        """
        SELECT a.pid, a.usename, extract(epoch FROM clock_timestamp() - a.backend_start)::int,
               coalesce(a.client_addr::text, 'this machine')
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%(lock)s, 0)
        """,
        lock=lock,
    ):
        log.info(
            "another migrator is at work: pid %s (%s, from %s, for %s s); waiting for it",
            pid,
            user,
            client,
            since,
        )


def _refuse_transaction_pooling(connected: Connection) -> None:
    """Raise where a pooler gives this connection another server session for each transaction.

    A pooler shows itself by a made-up backend pid. It pools transactions when a second connection gets the
    server session that the first one used, though the first is still open.
    """
    with connected.begin():
        real = catalog.scalar(connected, "SELECT pg_backend_pid()")
    driver: Any = connected.connection.dbapi_connection
    announced = driver.info.backend_pid
    if announced == real:
        return
    dialect = connected.dialect
    arguments, keywords = dialect.create_connect_args(connected.engine.url)
    for _ in range(5):
        with connected.begin():
            mine = catalog.scalar(connected, "SELECT pg_backend_pid()")
        other: Any = dialect.connect(*arguments, **keywords)
        try:
            cursor = other.cursor()
            cursor.execute("SELECT pg_backend_pid()")
            theirs = cursor.fetchone()[0]
        finally:
            other.close()
        if theirs == mine or mine != real:
            raise LockstepError(
                "this connection goes through a pooler in transaction mode, which cannot hold the migrator's "
                "lock: give Lockstep a direct connection to PostgreSQL"
            )
