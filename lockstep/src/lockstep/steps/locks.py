"""Locks: how a brief step gets them so that nobody waits for it, and who is in its way.

A step that takes a lock which blocks readers or writers is one short transaction under a short lock_timeout;
when it doesn't get its locks it gives back what it has, waits a moment and tries anew.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.servers import backend_pid, connect_again, database_of
from lockstep.postgres.session import execute, set_lock_timeout, sqlstate, transaction
from lockstep.steps import events
from lockstep.steps.patience import InTheWayError, Patience
from lockstep.steps.progress import Reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace


log = logging.getLogger("alembic.lockstep")


#: lock_not_available (lock_timeout, NOWAIT) and deadlock_detected.
RETRIED = frozenset({"55P03", "40P01"})


def take_locks(connection: Connection, locks: Sequence[tuple[str, str]], patience: float) -> None:
    """LOCK TABLE each in turn, all within ``patience`` seconds: what is held already makes others wait.

    One that was not to be had moves to the front of a list, to be asked for first the next time: on a busy
    service, transactions that lock in another order always hold it and wait for what is held already.
    """
    until = time.monotonic() + patience
    for number, (table, mode) in enumerate(locks):
        set_lock_timeout(connection, max(until - time.monotonic(), 0.005))
        try:
            execute(connection, f"LOCK TABLE {table} IN {mode} MODE")
        except DBAPIError as error:
            if isinstance(locks, list) and sqlstate(error) in RETRIED:
                locks.insert(0, locks.pop(number))
            raise
    if locks:
        set_lock_timeout(connection, max(until - time.monotonic(), 0.005))


def brief(
    connection: Connection,
    pace: Pace,
    description: str,
    work: Callable[[], Any],
    *,
    locks: Sequence[tuple[str, str]] = (),
    max_hold: bool = True,
) -> Any:
    """Take ``locks`` and run ``work`` in a transaction of its own.

    It waits for locks as long as ``pace.lock_timeout``; behind transactions that are older it does not queue
    at all (``patience``). It is tried again, holding nothing in between, until it gets through or
    ``pace.give_up_after`` is over. Who holds the locks is logged. A statement that holds its lock for longer
    than ``pace.max_hold`` is broken off (``max_hold``: whether it is; not on tables that nobody else sees
    yet). Raises LockstepError for both.
    """
    patience = Patience(pace, description)
    order = list(locks)
    started = time.monotonic()
    attempt = 0
    while True:
        try:
            watching = watch(connection, description, pace, patience) if attempt else nullcontext()
            with watching, transaction(connection):
                limit = round((pace.max_hold + patience.budget) * 1000) if max_hold else 0
                execute(connection, "SET LOCAL statement_timeout = 0")
                if patience.vacuumed:
                    _interrupt_autovacuum(connection, patience.vacuumed)
                execute(connection, f"SET LOCAL statement_timeout = {limit}")
                set_lock_timeout(connection, patience.budget)
                with patience.looking(connection):
                    take_locks(connection, order, patience.budget)
                    return work()
        except InTheWayError as error:
            patience.tell(error.found)
        except DBAPIError as error:
            if max_hold and is_broken_off(error):
                raise LockstepError(
                    f"{description}: it held a lock for more than {pace.max_hold} s and was broken off; "
                    "nothing of this step stays. Allow more with lockstep.Pace(max_hold=…), or let it take "
                    "its time with `with lockstep.plain():`, which in a downgrade keeps nothing of what it "
                    "drops"
                ) from error
            if sqlstate(error) not in RETRIED:
                raise
            if attempt % 3 == 2:
                patience.grow()
        waited = time.monotonic() - started
        if pace.give_up_after is not None and waited > pace.give_up_after:
            raise LockstepError(f"{description}: gave up after {waited:.1f} s: its locks are taken")
        if attempt == 0:
            log.info("%s: the locks are taken; trying again until they are free", description)
        attempt += 1
        pause(attempt)


def is_broken_off(error: DBAPIError) -> bool:
    """Whether a statement ended by its statement_timeout (and was not cancelled by somebody)."""
    return sqlstate(error) == "57014" and "statement timeout" in str(error.orig)


def pause(attempt: int) -> None:
    """Sleep before the next attempt, up to a second and a half."""
    # Jitter, so that it doesn't keep meeting a transaction that comes back at a fixed rate.
    time.sleep(min(0.05 * 2 ** min(attempt, 5), 1.0) * random.uniform(0.5, 1.5))  # noqa: S311


def _interrupt_autovacuum(connection: Connection, tables: set[str]) -> None:
    """Make an autovacuum worker let go of the tables.

    PostgreSQL cancels an autovacuum that somebody waits for, but only after deadlock_timeout (1 s), which a
    short lock_timeout never reaches. A wait for SHARE UPDATE EXCLUSIVE blocks no reader and no writer.
    """
    set_lock_timeout(connection, 3)
    for table in sorted(tables):
        execute(connection, f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")


@contextmanager
def watch(
    connection: Connection, description: str, pace: Pace, patience: Patience | None = None
) -> Iterator[None]:
    """Log whom this connection waits for while the block runs, from a thread with a connection of its own.

    It looks after half of the lock timeout with ``patience``, else after a second, then every second, and
    names each blocker once. Tables that an autovacuum worker holds are added to ``patience.vacuumed``.
    """
    delay = 1.0 if patience is None else pace.lock_timeout / 2
    pid = backend_pid(connection)
    here = database_of(connection)
    stop = threading.Event()

    def look() -> None:
        if stop.wait(delay):
            return
        seen: set[int] = set()
        reported = Reported(description, pid)
        # It only tells: the migration goes on without it.
        with suppress(Exception), connect_again(connection.engine, here) as other:
            while True:
                reported.ask(other)
                for blocker, user, state, age, query, worker, tables in catalog.rows(
                    other, _BLOCKERS, pid=pid
                ):
                    if worker == "autovacuum worker" and patience is not None:
                        patience.vacuumed.update(tables)
                    if blocker not in seen:
                        shown = f": {query}" if pace.show_statements else ""
                        log.info(
                            "%s: waiting for pid %s (%s, %s for %.1f s)%s",
                            description, blocker, user, state, age, shown,
                        )  # fmt: skip
                        events.emit(
                            "waiting", step=description, pid=blocker, user=user, state=state, seconds=age
                        )
                    seen.add(blocker)
                if stop.wait(1):
                    return

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
