"""What an ``env.py`` calls: connects, lets one migrator at a time through, runs Alembic by these rules."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from logging.config import fileConfig
from typing import TYPE_CHECKING, Any

from alembic import context
from alembic.runtime.migration import RevisionStep
from alembic.util import CommandError
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from lockstep import operations, private_names
from lockstep.archive import registry as archive
from lockstep.archive.restore import restore_the_rest, rewind_sequences
from lockstep.commands import status
from lockstep.environment.connection import connected_to, is_asyncpg, synchronous
from lockstep.environment.failures import explained
from lockstep.errors import LockstepError
from lockstep.operations.backfill import is_unfilled, not_filled_in
from lockstep.plan.signed import demanded
from lockstep.postgres.session import loss_of
from lockstep.revision import ahead, history, privileges, recovery
from lockstep.revision.ledger import SCHEMA, Ledger
from lockstep.revision.migrator import Migrator
from lockstep.revision.one_migrator import only_migrator
from lockstep.scopes import is_plain
from lockstep.steps.events import received_by
from lockstep.steps.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from alembic.config import Config
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from lockstep.revision.ledger import Underway

log = logging.getLogger("alembic.lockstep")


def run(
    *,
    url: str | URL | None = None,
    connection: Connection | Engine | AsyncConnection | AsyncEngine | None = None,
    target_metadata: Any = None,
    pace: Pace | None = None,
    short_way: bool = True,
    keep_sources: bool = True,
    on_event: Callable[[dict[str, Any]], object] | str | Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    **configure: Any,
) -> None:
    """Run the command that Alembic was called with, from ``env.py``; this is all that ``env.py`` needs.

    The database is ``connection``, or ``config.attributes["connection"]`` (Alembic's convention for callers),
    or ``url``, or ``sqlalchemy.url`` of the ini file. psycopg connects to the URL of an asynchronous driver.
    On a connection with an open transaction everything runs as plain Alembic, inside it, and the caller
    commits. ``configure`` is passed on to Alembic's ``context.configure()``.

    ``pace`` says how gently to go (see Pace). With ``short_way=False`` empty tables are changed like filled
    ones. ``arguments`` are given to each revision's ``upgrade()`` and ``downgrade()``, as Alembic's
    ``context.run_migrations(**arguments)`` does. An ``env.py`` may call it several times: for tenants, say.

    The file of each revision is kept in the database, for the way down from a program that does not have it
    (`lockstep go`); not with ``keep_sources=False``.

    ``alembic -x plan=FILE`` refuses, before the first statement, what is not the plan that
    ``lockstep plan --keep FILE`` wrote.

    ``on_event`` is called with each event (``lockstep.steps.events``), or is a file that gets them as JSON
    lines; so does the file of ``alembic -x lockstep_events=FILE``.

    Holds a session advisory lock while it upgrades, downgrades or stamps: one migrator at a time; the others
    wait. Commits after every step. Raises LockstepError, which Alembic prints as one line; called by the
    ``alembic`` command it does so for what PostgreSQL refuses, too.
    """
    _configure_logging(context.config)
    try:
        configure["target_metadata"] = target_metadata
        asked = context.get_x_argument(as_dictionary=True).get("lockstep_events")
        with received_by(on_event, asked):
            _run(
                url, connection, pace or Pace(), configure,
                short_way=short_way, keep_sources=keep_sources, arguments=arguments or {},
            )  # fmt: skip
    except CommandError as error:
        if "Multiple head revisions" in str(error):
            raise LockstepError(f"{error}; or `lockstep rebase` puts one of them after the other") from error
        raise
    except SyntaxError as error:
        if context.config.cmd_opts is None:
            raise
        raise LockstepError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    except (DBAPIError, InvalidRequestError) as error:
        cause = loss_of(error) or error
        log.debug("the error in full", exc_info=error)
        # A program's own command may want to tell the driver's errors apart.
        if context.config.cmd_opts is None or not isinstance(cause, DBAPIError):
            raise cause from cause.__cause__
        raise LockstepError(explained(cause)) from cause


def _run(
    url: str | URL | None,
    connection: Any,
    pace: Pace,
    configure: dict[str, Any],
    *,
    short_way: bool,
    keep_sources: bool,
    arguments: Mapping[str, Any],
) -> None:
    connection = connection if connection is not None else context.config.attributes.get("connection")
    if url is None and connection is None:
        url = context.config.get_main_option("sqlalchemy.url")
    if url is None and connection is None:
        raise LockstepError("lockstep.run() takes url=… or connection=…, or sqlalchemy.url in the ini file")
    _hide_own_schema(configure)
    if private_names.is_revision_command():
        from lockstep.autogenerate.directives import safely  # noqa: PLC0415  # migrating does without

        configure = safely(configure)
    schema, table = configure.get("version_table_schema"), configure.get("version_table", "alembic_version")
    ledger = Ledger(f"{schema or ''}.{table}")
    if context.is_offline_mode():
        _run_offline(url, Migrator(pace, ledger, short_way=short_way), configure, arguments)
        return
    with connected_to(url, connection) as connected:
        if connected.in_transaction() or is_plain():
            log.info("running as plain Alembic, in the caller's transaction or the caller's plain() block")
            context.configure(
                **{**configure, "connection": connected, "fn": _asked(), operations.OPTION: None}
            )
            with context.begin_transaction():
                context.run_migrations(**arguments)
            return
        with connected.begin():
            ledger.locate(connected, table, schema)
        migrator = Migrator(
            replace(pace, version_table=ledger.version_table), ledger,
            short_way=short_way, keeps_source=keep_sources,
        )  # fmt: skip
        migrator.transaction.listener.asyncpg = is_asyncpg(url, connection)
        _run_online(connected, migrator, configure, arguments)


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


def _run_offline(
    url: str | URL | None, migrator: Migrator, configure: dict[str, Any], arguments: Mapping[str, Any]
) -> None:
    configure.setdefault("literal_binds", True)
    configure.setdefault("dialect_opts", {"paramstyle": "named"})
    if url is None:
        configure.setdefault("dialect_name", "postgresql")
    else:
        configure["url"] = synchronous(make_url(url)).render_as_string(hide_password=False)
    _configure(migrator, configure)
    with context.begin_transaction():
        context.run_migrations(**arguments)


def _run_online(
    connected: Connection, migrator: Migrator, configure: dict[str, Any], arguments: Mapping[str, Any]
) -> None:
    _configure(migrator, {**configure, "connection": connected, "transaction_per_migration": True})
    if "destination_rev" not in context.get_context().opts:
        tell_status(connected, migrator.ledger)
        with context.begin_transaction():
            context.run_migrations(**arguments)
        return
    version_table, schema = context.get_context().version_table, context.get_context().version_table_schema
    with only_migrator(connected, version_table, schema), migrator.at_work(connected):
        with connected.begin():
            if denied := privileges.refusal(connected):
                raise LockstepError(denied)
            migrator.ledger.create(connected)
            migrator.ledger.begin(connected)
            half_done = migrator.half_done()
            recovery.refuse_purge(context.get_context(), half_done)
            _tell(half_done, archive.kept_of(connected, migrator.ledger.version_table))
        with context.begin_transaction():
            context.run_migrations(**arguments)
        if connected.in_transaction():
            connected.commit()


def tell_status(connected: Connection, ledger: Ledger) -> None:
    """Log in a line each what is half done and what is kept; nothing is locked, and nothing made."""
    with connected.begin():
        if denied := privileges.refusal(connected):
            log.warning("%s", denied)
            return
        _tell(ledger.read_all(connected), archive.kept_of(connected, ledger.version_table))


def _tell(underway: list[Underway], kept: list[archive.Kept]) -> None:
    for line in status.lines(underway, kept):
        log.info("%s", line)


def _with_archive(migrator: Migrator, revision: Callable[..., None]) -> Callable[..., None]:
    """The revision's function, followed by what gives back what its downgrade kept."""

    def function(**arguments: Any) -> None:
        if not migrator.planning.offline:
            rewind_sequences(migrator)
        revision(**arguments)
        if not migrator.planning.offline:
            restore_the_rest(migrator)

    return function


def _configure(migrator: Migrator, configure: dict[str, Any]) -> None:
    original = _asked()

    def steps(rev: Any, migration_context: Any) -> Iterator[Any]:
        try:
            yield from wrapped(rev, migration_context)
        except CommandError as error:
            if newer := _ahead(migrator, migration_context, rev):
                raise LockstepError(ahead.told(newer)) from error
            raise

    def wrapped(rev: Any, migration_context: Any) -> Iterator[Any]:
        planned = (
            original(rev, migration_context)
            if migrator.planning.offline or "destination_rev" not in migration_context.opts
            else recovery.plan(migrator, migration_context, rev, original)
        )
        for step in planned:
            if isinstance(step, RevisionStep):
                revision = step.migration_fn
                if step.is_upgrade and is_unfilled(revision):
                    raise LockstepError(not_filled_in(step.revision.path))
                # Alembic logs a step by its function's name.
                step.migration_fn = functools.update_wrapper(
                    functools.partial(
                        migrator.migrate, step, _with_archive(migrator, _without_run_async(revision))
                    ),
                    revision,
                )
            yield step

    hooks = configure.get("on_version_apply", ())
    configure["on_version_apply"] = (
        *(hooks if isinstance(hooks, tuple | list) else (hooks,)),
        migrator.finish,
    )
    context.configure(**{**configure, "fn": steps, operations.OPTION: migrator})
    migrator.configured(context.get_context())


def _ahead(migrator: Migrator, migration_context: Any, heads: Any) -> list[history.Kept]:
    """The revisions that the database has had and that no file here is of."""
    connection, script = migration_context.connection, migration_context.script
    if connection is None or script is None:
        return []
    return ahead.ahead_of(script, heads, history.kept(connection, migrator.ledger.version_table))


#: Where the options of a migration context keep what the command came to do, which "fn" is replaced by.
_ASKED = "lockstep_asked"


def _asked() -> Callable[..., Iterable[Any]]:
    """What the command came to do, whether or not an earlier run() of the same env.py has put a function of
    its own in that place. configure() may replace it, but nothing public tells what it is.
    """
    options = private_names.options_of_the_command()
    found: Callable[..., Iterable[Any]] = options.setdefault(_ASKED, options["fn"])
    return demanded(found, context.get_x_argument(as_dictionary=True).get("plan"))


def _without_run_async(revision: Callable[..., Any]) -> Callable[..., Any]:
    """A revision's function that says what is in the way of op.run_async()."""

    @functools.wraps(revision)
    def run_revision(**arguments: Any) -> Any:
        try:
            return revision(**arguments)
        except ValueError as error:
            if "run_async" not in str(error):
                raise
            raise LockstepError(
                "op.run_async() needs an asynchronous connection, and Lockstep migrates over a synchronous "
                "one: send the same statements through op.get_bind()"
            ) from error

    return run_revision
