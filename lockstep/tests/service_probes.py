"""A service that uses five tables while a migration runs, and which of its statements would wait for it.

Not the clock tells what is long, but what the migration's session computes for a statement: where that is
about as much as to read a table, a reader and a writer of each table are sent while its locks are held, and
``pg_blocking_pids`` says whether they wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa

from lockstep.plan.statement import may_be_in_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

#: Of each table a column that no case drops, and one row.
TABLES = {
    "people": ("note", "id = 1"),
    "posts": ("title", "id = 1"),
    "votes": ("person_id", "person_id = 1 AND post_id = 1"),
    "loose": ("c", "a = 1"),
    "kept": ("label", "id = 1"),
}

_BLOCKED = """
SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %(pid)s AND NOT granted AND locktype = 'relation')
FROM unnest(pg_blocking_pids(%(pid)s)) b WHERE b = ANY(%(migrators)s) LIMIT 1
"""


def statement(table: str, kind: str) -> bytes:
    """A reader's, or a writer's, of a table."""
    column, row = TABLES[table]
    if kind == "read":
        return f"SELECT {column} FROM {table} LIMIT 1".encode()
    return f"UPDATE {table} SET {column} = {column} WHERE {row}".encode()


def computed(pid: int) -> float:
    """Seconds of processor time that a session's process has had, once it rests: then they are counted."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R":
        time.sleep(0)
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _pid(connection: sa.Connection) -> int:
    driver: Any = connection.connection.dbapi_connection
    return int(driver.info.backend_pid)


class Probes:
    """Who would wait for how much, seen while a migration runs in this process."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self.waits: dict[tuple[str, str], str] = {}
        """A table, what waits on it for long (``read``, ``write``, or ``rows``, a writer of a row), and for
        which statement.
        """
        self._other = cluster.connect(database)
        self._sent = {
            (table, kind): cluster.connect(database) for table in TABLES for kind in ("read", "write")
        }
        self._pool = ThreadPoolExecutor(1)
        self._migrators: set[int] = set()
        self._before: defaultdict[int, list[float]] = defaultdict(list)
        self._wrapped: set[int] = set()
        self._rows, self._long = self._calibrated()

    def _calibrated(self) -> tuple[int, float]:
        """Half of the rows, and most of what it takes to read the slowest of the tables."""
        rows, seconds = [], []
        self._other.execute("SET max_parallel_workers_per_gather = 0")
        for table in TABLES:
            query = f"SELECT count(*) FROM {table}".encode()
            for _ in range(2):
                begun = computed(self._other.info.backend_pid)
                (count,) = self._other.execute(query).fetchone() or (0,)
                seconds.append(computed(self._other.info.backend_pid) - begun)
            rows.append(count)
        return min(rows) // 2, max(seconds) * 0.9

    def close(self) -> None:
        self._pool.shutdown()
        for connection in (self._other, *self._sent.values()):
            connection.close()

    # -- around the migration's statements -------------------------------------------------------------

    def before(self, connection: sa.Connection, _cursor: Any, sql: str, *_: Any) -> None:
        pid, driver = _pid(connection), connection.connection.dbapi_connection
        self._migrators.add(pid)
        assert driver is not None
        idle = driver.autocommit and driver.info.transaction_status == 0
        alone = sql.lstrip().upper().startswith(("BEGIN", "SET", "COMMIT")) or not may_be_in_transaction(sql)
        if idle and not alone:  # its locks are held until they were looked at
            driver.cursor().execute("BEGIN")
            self._wrapped.add(pid)
        self._before[pid].append(computed(pid))

    def after(self, connection: sa.Connection, cursor: Any, sql: str, *_: Any) -> None:
        pid = _pid(connection)
        took = computed(pid) - self._before[pid].pop()
        if took >= self._long or cursor.rowcount >= self._rows:
            for table, kind in self._sent:
                self._probe(table, kind, sql, many=cursor.rowcount >= self._rows)
        if pid in self._wrapped:
            self._wrapped.discard(pid)
            with connection.connection.dbapi_connection.cursor() as own:  # type: ignore[union-attr]  # it is
                own.execute("COMMIT")

    def _probe(self, table: str, kind: str, sql: str, *, many: bool) -> None:
        probe = self._sent[table, kind]
        sent = self._pool.submit(probe.execute, statement(table, kind))
        while not sent.done():
            asked = {"pid": probe.info.backend_pid, "migrators": list(self._migrators)}
            found = self._other.execute(_BLOCKED, asked).fetchone()
            if found:
                if found[0] or many:
                    self.waits.setdefault((table, kind if found[0] else "rows"), sql)
                break
        while not sent.done():
            probe.cancel()
            time.sleep(0.001)
        error = sent.exception()
        expected = (psycopg.errors.QueryCanceled, psycopg.errors.UndefinedTable)
        assert error is None or isinstance(error, expected), error


@contextmanager
def service(cluster: Cluster, database: str) -> Iterator[Probes]:
    """The service: a reader and a writer in a loop, and the probes."""
    probes, ended = Probes(cluster, database), threading.Event()

    def loop(kind: str) -> None:
        with cluster.connect(database) as connection:
            connection.prepare_threshold = None  # a prepared one fails where the type of a column changes
            connection.execute("SET lock_timeout = '20ms'")  # no deadlock with a migration that locks twice
            while not ended.is_set():
                for table in TABLES:
                    ended.wait(0.01)  # a service that leaves the machine some room
                    with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
                        connection.execute(statement(table, kind))

    threads = [threading.Thread(target=loop, args=[kind]) for kind in ("read", "write")]
    hooks = (("before_cursor_execute", probes.before), ("after_cursor_execute", probes.after))
    for thread in threads:
        thread.start()
    for name, hook in hooks:
        sa.event.listen(sa.Engine, name, hook)
    try:
        yield probes
    finally:
        for name, hook in hooks:
            sa.event.remove(sa.Engine, name, hook)
        ended.set()
        for thread in threads:
            thread.join()
        probes.close()
