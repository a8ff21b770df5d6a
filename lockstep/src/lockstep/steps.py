"""How one step of a migration is run so that nobody waits for it.

A step that takes a lock which blocks readers or writers is one short transaction under a short lock_timeout;
when it doesn't get its locks it gives back what it has, waits a moment and tries anew. Steps that run long
hold only locks that let readers and writers through.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep import catalog
from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.lockstep")


class Kind(StrEnum):
    """How a step is run."""

    BRIEF = "brief"
    """One short transaction that may block others: short lock_timeout, retried."""
    LONG = "long"
    """One transaction that may take long and blocks neither readers nor writers."""
    OUTSIDE = "outside"
    """Outside of any transaction (CONCURRENTLY); recognised from the catalog when it was interrupted."""
    FILL = "fill"
    """Batches, each a transaction of its own; goes on where its predicate still holds."""
    COPY = "copy"
    """Batches too; a range of pages that was carried over already changes nothing."""
    UNKNOWN = "unknown"
    """A statement of the revision's that runs outside of transactions and that no catalog tells about."""


@dataclass(frozen=True)
class Fill:
    """Rows to change in batches: ``UPDATE table SET assignments WHERE predicate``."""

    table: str
    assignments: str
    predicate: str
    quiet: bool = False
    """Without firing the table's own triggers: what is filled is Lockstep's own column."""
    columns: tuple[str, ...] = ()
    """The columns that are set, unquoted; where no index has them, rows can stay on their pages."""
    own: bool = False
    """Whether this is no statement of the revision's, so that several connections may share it."""


@dataclass(frozen=True)
class Copy:
    """Rows to carry over in batches: ``statement`` for each range of pages of ``table``.

    ``{inside}`` in it is the condition on the ctid of ``source``. ``until_still``: over and
    over, until it changes nothing.
    """

    table: str
    statement: str
    until_still: bool = False
    quiet: bool = False
    """Without firing triggers: what is given back was there before."""
    into: str = ""
    """The table that is written to."""


@dataclass(frozen=True)
class Step:
    """One step, as data: it is written down before it runs, so that another process can go on with it.

    ``locks`` are taken first, in order, each as (qualified table, lock mode). ``present`` is a query that is
    true when an OUTSIDE step has been done already, ``leftover`` what removes one that was interrupted.
    ``undo`` takes the step back (None: it cannot be taken back); ``undo_present`` is a query that is true
    when an OUTSIDE step has been taken back already. ``offenders`` finds rows that make it fail. ``journal``
    is what the revision's own code sent.
    """

    says: str
    sql: tuple[str, ...] = ()
    kind: Kind = Kind.BRIEF
    locks: tuple[tuple[str, str], ...] = ()
    present: str | None = None
    leftover: tuple[str, ...] = ()
    undo: tuple[str, ...] | None = ()
    offenders: str | None = None
    fill: Fill | None = None
    copy: Copy | None = None
    undo_present: str | None = None
    journal: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, ()) or key == "undo"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Step:
        known = dict(data)
        for name in ("sql", "leftover", "journal"):
            known[name] = tuple(known.get(name, ()))
        known["locks"] = tuple((table, mode) for table, mode in known.get("locks", ()))
        known["undo"] = None if known.get("undo") is None else tuple(known["undo"])
        known["kind"] = Kind(known.get("kind", Kind.BRIEF))
        if known.get("fill"):
            known["fill"] = Fill(**known["fill"] | {"columns": tuple(known["fill"].get("columns", ()))})
        if known.get("copy"):
            known["copy"] = Copy(**known["copy"])
        return cls(**known)


@dataclass(frozen=True)
class Pace:
    """How gently to go. Times in seconds."""

    lock_timeout: float = 0.04
    """The longest a step waits for its locks: whoever comes after it waits that long too."""
    give_up_after: float | None = None
    """How long a step that doesn't get its locks is retried; None: until it gets them."""
    batch_time: float = 0.02
    """How long one batch of a fill should take."""
    max_replica_lag: float = 10.0
    """A fill pauses while a streaming replica is further behind than this."""
    connections: int = 2
    """How many connections fill a column whose type changes, or whose default is volatile. The further ones
    join once the fill has lasted half a second, where the engine opens new ones (NullPool)."""


#: lock_not_available (lock_timeout, NOWAIT) and deadlock_detected.
RETRIED = frozenset({"55P03", "40P01"})


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a driver's error, whichever driver."""
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


def execute(connection: Connection, statement: str) -> Any:
    """Run one of Lockstep's own statements as it stands."""
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """A transaction on a connection that is in autocommit mode: committed, or rolled back on any error."""
    execute(connection, "BEGIN")
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # a lost connection has nothing to roll back
            execute(connection, "ROLLBACK")
        raise
    execute(connection, "COMMIT")


def take_locks(connection: Connection, locks: tuple[tuple[str, str], ...], patience: float) -> None:
    """LOCK TABLE each in turn, all within ``patience`` seconds: what is held already makes others wait."""
    until = time.monotonic() + patience
    for table, mode in locks:
        set_lock_timeout(connection, max(until - time.monotonic(), 0.005))
        execute(connection, f"LOCK TABLE {table} IN {mode} MODE")
    if locks:
        set_lock_timeout(connection, max(until - time.monotonic(), 0.005))


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """For the transaction at hand; 0 is no limit."""
    execute(connection, f"SET LOCAL lock_timeout = '{round(seconds * 1000)}ms'")


def brief(connection: Connection, pace: Pace, says: str, work: Callable[[], Any]) -> Any:
    """Run ``work`` in a transaction of its own that waits for locks no longer than ``pace.lock_timeout``.

    It is tried again, holding nothing in between, until it gets through or ``pace.give_up_after`` is over
    (then LockstepError is raised). Who holds the locks is logged as soon as it has to try again.
    """
    started = time.monotonic()
    attempt = 0
    autovacuumed: set[str] = set()
    while True:
        try:
            watching = (
                watch(connection, says, pace.lock_timeout / 2, autovacuumed) if attempt else nullcontext()
            )
            with watching, transaction(connection):
                execute(connection, "SET LOCAL statement_timeout = 0")
                if autovacuumed:
                    _interrupt_autovacuum(connection, autovacuumed)
                set_lock_timeout(connection, pace.lock_timeout)
                return work()
        except DBAPIError as error:
            if sqlstate(error) not in RETRIED:
                raise
            waited = time.monotonic() - started
            if pace.give_up_after is not None and waited > pace.give_up_after:
                raise LockstepError(f"{says}: gave up after {waited:.1f} s: its locks are taken") from error
        if attempt == 0:
            log.info("%s: the locks are taken; trying again until they are free", says)
        attempt += 1
        pause(attempt)


def pause(attempt: int) -> None:
    """Sleep before the next attempt, up to a second and a half."""
    # Jitter, so that it doesn't keep meeting a transaction that comes back at a fixed rate.
    time.sleep(min(0.05 * 2 ** min(attempt, 5), 1.0) * random.uniform(0.5, 1.5))  # noqa: S311


def is_dml(statement: str) -> bool:
    """Whether a statement only reads or writes rows: waiting for its locks makes nobody else wait."""
    text = statement.lstrip().lstrip("(").lstrip()
    while text.startswith(("--", "/*")):
        text = (text.partition("\n")[2] if text.startswith("--") else text.partition("*/")[2]).lstrip()
    word = text.split(None, 1)[0].upper().rstrip(";") if text else ""
    return word in {"INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "WITH", "VALUES", "COPY", "TABLE"}


def _interrupt_autovacuum(connection: Connection, tables: set[str]) -> None:
    """Make an autovacuum worker let go of the tables.

    PostgreSQL cancels an autovacuum that somebody waits for, but only after deadlock_timeout (1 s), which a
    short lock_timeout never reaches. A wait for SHARE UPDATE EXCLUSIVE blocks no reader and no writer.
    """
    set_lock_timeout(connection, 3)
    for table in sorted(tables):
        execute(connection, f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """Neither lock_timeout nor statement_timeout, whatever the role has set; for what blocks nobody."""
    execute(connection, "SET lock_timeout = 0")
    execute(connection, "SET statement_timeout = 0")
    try:
        yield
    finally:
        with suppress(DBAPIError):
            execute(connection, "RESET lock_timeout")
            execute(connection, "RESET statement_timeout")


@contextmanager
def watch(
    connection: Connection, says: str, delay: float, autovacuumed: set[str] | None = None
) -> Iterator[None]:
    """Log whom this connection waits for while the block runs, from a thread with a connection of its own.

    It looks after ``delay`` seconds, then every second, and names each blocker once. Tables that an
    autovacuum worker holds are added to ``autovacuumed``.
    """
    pid = catalog.scalar(connection, "SELECT pg_backend_pid()")
    dialect = connection.dialect
    arguments, keywords = dialect.create_connect_args(connection.engine.url)
    stop = threading.Event()

    def look() -> None:
        if stop.wait(delay):
            return
        seen: set[int] = set()
        with suppress(Exception):  # it only tells: the migration goes on without it
            other: Any = dialect.connect(*arguments, **keywords)
            try:
                other.autocommit = True
                cursor = other.cursor()
                while True:
                    cursor.execute(_BLOCKERS, {"pid": pid})
                    for blocker, user, state, age, query, worker, tables in cursor.fetchall():
                        if worker == "autovacuum worker" and autovacuumed is not None:
                            autovacuumed.update(tables)
                        if blocker not in seen:
                            log.info(
                                "%s: waiting for pid %s (%s, %s for %.1f s): %s",
                                says, blocker, user, state, age, query,
                            )  # fmt: skip
                        seen.add(blocker)
                    if stop.wait(1):
                        return
            finally:
                other.close()

    thread = threading.Thread(target=look, name="lockstep-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


_BLOCKERS = """
SELECT a.pid, coalesce(a.usename, a.backend_type), coalesce(a.state, 'running'),
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8,
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200), a.backend_type,
       ARRAY(SELECT DISTINCT l.relation::regclass::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE l.pid = a.pid AND c.relkind IN ('r', 'm')
               AND c.relnamespace <> 'pg_catalog'::regnamespace)
FROM unnest(pg_blocking_pids(%(pid)s)) blocker(pid) JOIN pg_stat_activity a ON a.pid = blocker.pid
-- Not the moment in which two connections add pages to the same table.
WHERE NOT EXISTS (SELECT FROM pg_locks WHERE pid = %(pid)s AND NOT granted AND locktype = 'extend')
"""
