"""Engines of other drivers than psycopg: psycopg comes to the database that they reach, or it is refused."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import ClientCursor
from psycopg.adapt import Dumper, Transformer
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.exc import SQLAlchemyError

from lockstep.environment.failures import one_line
from lockstep.errors import LockstepError
from lockstep.postgres.servers import Database, database_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Connection, Engine

#: The drivers whose options are libpq's ("" is SQLAlchemy's default driver, which is one of them).
LIBPQ = frozenset({"", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi"})

#: libpq's names for what asyncpg takes.
_NAMES = {
    "host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname",
    "passfile": "passfile", "timeout": "connect_timeout", "target_session_attrs": "target_session_attrs",
    "krbsrvname": "krbsrvname", "gsslib": "gsslib", "application_name": "application_name",
}  # fmt: skip

#: What only says how a driver works inside, or how long a statement of the service's may take.
_LEFT_OUT = frozenset({
    "async_creator_fn", "async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func",
    "statement_cache_size", "command_timeout", "max_cached_statement_lifetime",
    "max_cacheable_statement_size", "loop", "connection_class", "record_class", "connection_factory",
    "cursor_factory", "row_factory", "async", "async_",
})  # fmt: skip

#: What a driver sets for each of its sessions, whatever is asked of it.
_DRIVERS_OWN = "'application_name', 'client_encoding', 'DateStyle', 'extra_float_digits', 'TimeZone'"


def libpq_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What asyncpg is called with, by libpq's names. Raises LockstepError for what libpq has no name for."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _LEFT_OUT or value is None:
            continue
        if name == "ssl":
            found.update(_ssl(value))
        elif name == "server_settings" and not isinstance(value, str):
            found["options"] = " ".join(
                f"-c {key}={str(setting).replace(chr(92), chr(92) * 2).replace(' ', chr(92) + ' ')}"
                for key, setting in value.items()
            )
        elif name in _NAMES:
            found[_NAMES[name]] = _value(name, value)
        else:
            raise LockstepError(
                f"the option {name!r} is not one that psycopg knows, over which Lockstep migrates: give "
                "lockstep.run() the url of the same database for psycopg, with libpq's options"
            )
    return found


def _value(name: str, value: Any) -> Any:
    if name == "password" and callable(value):
        value = value()
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise LockstepError("a password that is awaited cannot be given to psycopg: give it url=…")
    if name == "timeout":
        return str(max(round(float(value)), 2))  # libpq knows whole seconds, and no fewer than two
    return value


def _ssl(value: Any) -> dict[str, Any]:
    if value is True:  # Python's default context: the system's certificates, the host's name
        return {"sslmode": "verify-full", "sslrootcert": "system"}
    if value is False:
        return {"sslmode": "disable"}
    if isinstance(value, str):
        return {"sslmode": {"true": "require", "false": "disable"}.get(value.lower(), value)}
    raise LockstepError(
        "ssl= is an SSLContext, which psycopg cannot be given: give lockstep.run() the url of the same "
        "database for psycopg, with sslmode=… and sslrootcert=…"
    )


def arguments_of(driver: str) -> dict[str, Any]:
    """What psycopg is given in the place of that driver, besides where to connect to."""
    return {"cursor_factory": ClientCursor} if driver == "psycopg2" else {}


def written_for(driver: str, engine: Engine) -> Engine:
    """The engine over psycopg, for revisions that were written for that driver.

    psycopg2 puts parameters into the text and says nothing of their types: a text is taken where a number is
    wanted, DDL and several statements in one text have parameters, too, and a tuple follows an IN.
    """
    if driver != "psycopg2":
        return engine
    engine.dialect.bind_typing = BindTyping.NONE

    @sa.event.listens_for(engine, "connect")
    def adapt(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(tuple, _InParentheses)

    return engine


class _InParentheses(Dumper):
    """A tuple as psycopg2 writes it."""

    def dump(self, obj: Any) -> bytes:
        transformer = Transformer(self.connection)
        return b"(" + b", ".join(bytes(transformer.as_literal(one)) for one in obj) + b")"

    quote = dump


@dataclass
class _Reached:
    """What an engine's own connection has come to."""

    database: Database
    user: str
    role: str
    settings: list[tuple[str, str]]


def engine_like(engine: Engine) -> Engine:
    """An engine over psycopg that comes to the database that ``engine`` reaches, as the same role and with
    the same settings. Raises LockstepError where psycopg cannot be called as the engine's driver is.
    """
    arguments: dict[str, Any] = {}

    def note(_dialect: Any, _record: Any, positional: Any, named: dict[str, Any]) -> None:
        arguments.update(named)
        if positional:  # psycopg2's dsn, as a listener may give it
            arguments["dsn"] = positional[0]

    # Listens last, after what the project has: a listener of its own may have put in a token.
    sa.event.listen(engine, "do_connect", note)
    try:
        reached = _asked(engine)
    finally:
        sa.event.remove(engine, "do_connect", note)
    if not arguments:  # a creator connects: its URL may say the same
        arguments.update(engine.dialect.create_connect_args(engine.url)[1])
    return _over_psycopg(engine, arguments, reached)


def _over_psycopg(engine: Engine, arguments: dict[str, Any], reached: _Reached) -> Engine:
    if engine.dialect.driver in LIBPQ:
        keywords = {key: value for key, value in arguments.items() if key not in _LEFT_OUT}
        keywords = {**conninfo_to_dict(keywords.pop("dsn", "")), **keywords}
    else:
        keywords = libpq_arguments(arguments)
    for several in {"host", "port"} & keywords.keys():
        if isinstance(keywords[several], list | tuple):
            keywords[several] = ",".join(str(one) for one in keywords[several])
    like = sa.create_engine(
        URL.create("postgresql+psycopg"),
        poolclass=sa.pool.NullPool,
        connect_args={"application_name": "lockstep", **keywords, **arguments_of(engine.dialect.driver)},
    )
    written_for(engine.dialect.driver, like)
    options = {k: v for k, v in engine.get_execution_options().items() if k != "isolation_level"}

    @sa.event.listens_for(like, "connect")
    def set_as_there(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in [*reached.settings, ("role", reached.role)]:
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()

    try:
        with like.connect() as connection:
            mine = _look(connection)
    except SQLAlchemyError as error:
        raise _refused(engine, one_line(error)) from None
    if not reached.database.is_same_as(mine.database):
        raise _refused(engine, f"the engine comes to {reached.database}, psycopg to {mine.database}")
    if (mine.user, mine.role) != (reached.user, reached.role):
        raise _refused(engine, f"the engine is {reached.user}, psycopg is {mine.user}")
    return like.execution_options(**options) if options else like


def _refused(engine: Engine, reason: str) -> LockstepError:
    return LockstepError(
        "Lockstep migrates over psycopg, which cannot connect as this engine over "
        f"{engine.dialect.driver} does: {reason}. Give lockstep.run() url=…, or an engine over psycopg"
    )


def _look(connection: Connection) -> _Reached:
    who = connection.exec_driver_sql(
        "SELECT session_user::text AS session_user_, current_setting('role') AS role_"
    ).one()
    settings = connection.exec_driver_sql(
        "SELECT name, setting FROM pg_settings WHERE source IN ('client', 'session') "
        f"AND context IN ('user', 'superuser') AND name NOT IN ({_DRIVERS_OWN}) "
        "AND NOT starts_with(name, 'transaction')"
    )
    return _Reached(
        database_of(connection),
        who.session_user_,
        who.role_,
        [(row.name, row.setting) for row in settings],
    )


def _asked(engine: Engine) -> _Reached:
    """What a connection of the engine's own, opened for this and closed again, has come to."""
    url = URL.create(f"postgresql+{engine.dialect.driver}")
    pool = engine.pool.recreate()
    try:
        if not engine.dialect.is_async:
            with sa.create_engine(url, pool=pool).connect() as connection:
                connection.detach()
                return _look(connection)
        return _in_a_loop_of_its_own(url, pool, _look)
    except LockstepError:
        raise
    except Exception as error:  # a creator may raise anything
        raise LockstepError(f"cannot connect as the engine does: {one_line(error)}") from error


def _in_a_loop_of_its_own(url: URL, pool: sa.Pool, look: Callable[[Connection], _Reached]) -> _Reached:
    """Ask over an asynchronous driver, whether or not an event loop runs in this thread."""
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # needs greenlet

    async def ask() -> _Reached:
        engine = create_async_engine(url, pool=pool)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(look)
        finally:
            await engine.dispose()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()
