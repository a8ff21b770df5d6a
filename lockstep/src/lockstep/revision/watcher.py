"""Seeing who waits for the migrator's open transaction, and breaking it off before they wait long."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lockstep.postgres.servers import backend_pid

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

log = logging.getLogger("alembic.lockstep")

#: How often it looks while the transaction holds locks, in seconds.
INTERVAL = 0.01

_LONGEST_WAIT = """
SELECT max(extract(epoch FROM clock_timestamp() - coalesce(waitstart, clock_timestamp())))::float8
FROM pg_locks WHERE NOT granted AND pid <> %(pid)s AND %(pid)s = ANY (pg_blocking_pids(pid))
"""

#: For how long the answer to whether somebody else is connected is good enough, in seconds. Who comes after
#: it is seen by the thread when they wait.
_STILL_ALONE = 0.1

_ALONE = """
SELECT NOT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid NOT IN (%(pid)s, pg_backend_pid())
) AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())
"""

#: Whether others are connected, and the transaction holds a lock that blocks readers or writers on a table
#: that they can see: asked from outside of the transaction, where what it created does not exist.
_IN_THE_WAY = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND pid NOT IN (%(pid)s, pg_backend_pid())
      AND coalesce(backend_type, 'client backend') = 'client backend'
) AND EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = %(pid)s AND l.granted AND l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND c.relkind IN ('r', 'p', 'm', 'v')
)
"""


class Watcher:
    """Watches one connection's transaction from a second connection and a thread.

    It looks only between ``watch()`` and ``rest()``. Whoever waits longer than ``patience`` seconds is let
    through: the statement that runs is cancelled and the transaction rolled back, and ``broken`` says so.
    """

    def __init__(self, connection: Connection, patience: float) -> None:
        self.broken = False
        self.somebody_waits = False
        """Somebody waits, not for long yet."""
        self._patience = patience
        self._asked = 0.0
        self._alone = False
        self._mutex = threading.Lock()
        """Held while it is decided whether to break off; not while it is asked who waits."""
        self._turn = 0
        self._watching = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._driver: Any = connection.connection.dbapi_connection
        self._other: Any = None
        self._pid = 0
        self._connect(connection)

    @property
    def sees(self) -> bool:
        """Whether there is a second connection to look from."""
        return self._other is not None

    def _connect(self, connection: Connection) -> None:
        reason = "the engine gives the same connection again"
        try:
            self._pid = backend_pid(connection)
            fairy = connection.engine.raw_connection()
            other = fairy.dbapi_connection
            if other is not None and other is not self._driver:
                fairy.detach()
                other.autocommit = True
                self._other = other
        except (DBAPIError, SQLAlchemyError) as error:
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        if self._other is None:
            log.warning(
                "no second connection to see who waits for this migration (%s): it looks between operations "
                "only",
                reason,
            )

    def watch(self) -> None:
        """The transaction holds locks from now on."""
        if self._other is None or self._watching.is_set():
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="lockstep-watcher", daemon=True)
            self._thread.start()
        self._watching.set()

    def rest(self) -> None:
        """The transaction is about to end; once this returns, nothing is broken off any more."""
        with self._mutex:
            self._watching.clear()
            self._turn += 1
            self.somebody_waits = False

    def in_the_way(self) -> bool:
        """Whether the transaction holds a lock that keeps readers or writers from a table that others use.

        Others are the client sessions connected to this database, idle ones included: any of them may come
        for the table at the next moment. A table that the transaction itself made is nobody's yet.
        """
        if self.is_alone():
            return False
        if self._other is None:
            return True
        try:
            return bool(self._scalar(_IN_THE_WAY))
        except Exception:  # noqa: BLE001  # the driver's, whichever it is
            self._lose()
            return True

    def is_alone(self) -> bool:
        """Whether nobody else is connected to the database: no client, no autovacuum worker."""
        if self._other is None:
            return False
        now = time.monotonic()
        if now - self._asked > _STILL_ALONE:
            try:
                self._alone = bool(self._scalar(_ALONE))
            except Exception:  # noqa: BLE001  # the driver's, whichever it is
                self._lose()
                self._alone = False
            self._asked = now
        return self._alone

    def close(self) -> None:
        self._closed.set()
        self._watching.set()
        if self._thread is not None:
            self._thread.join()
        if self._other is not None:
            with suppress(Exception):
                self._other.close()

    def _scalar(self, query: str) -> Any:
        """Asked from either thread: the driver lets one after the other use the connection."""
        cursor = self._other.cursor()
        try:
            cursor.execute(query, {"pid": self._pid})
            return cursor.fetchone()[0]
        finally:
            cursor.close()

    def _look(self) -> None:
        while True:
            self._watching.wait()
            turn = self._turn
            if self._closed.wait(INTERVAL):
                return
            if turn != self._turn or not self._watching.is_set() or self._other is None:
                continue  # nobody has waited long for a transaction that was shorter than this
            try:
                waited = self._scalar(_LONGEST_WAIT)
                with self._mutex:
                    if turn != self._turn or not self._watching.is_set():
                        continue  # it was about a transaction that is over
                    self.somebody_waits = waited is not None
                    if waited is not None and waited >= self._patience:
                        self._break_off()
            except Exception:  # noqa: BLE001  # the driver's, whichever it is
                self._lose()

    def _break_off(self) -> None:
        self.broken = True
        self._watching.clear()
        self._scalar("SELECT pg_cancel_backend(%(pid)s)")
        # Waits until the statement has ended; between statements it ends the transaction at once.
        with suppress(Exception):
            self._driver.rollback()

    def _lose(self) -> None:
        """The second connection is gone: from now on it is looked between operations."""
        log.warning("the second connection is lost: whether somebody waits is looked between operations only")
        self._watching.clear()
        self._other = None
