"""Between the batches of a fill: whether others need it to wait, and for what.

Each reason is a query that every role may run; what a role without ``pg_read_all_stats`` cannot see is said
once.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.steps import control, events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")

#: How often it is asked, in seconds.
_EVERY = 1.0

_REPLICAS = """
SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 AS lag,
       count(*) FILTER (WHERE state IS NULL) > 0 AS hidden
FROM pg_stat_replication
"""

# Segments written and not archived. A name is timeline, log, segment: eight hexadecimal digits each.
_ARCHIVER = """
WITH size AS (SELECT setting::bigint AS segment FROM pg_settings WHERE name = 'wal_segment_size'),
named AS (
    SELECT coalesce(last_archived_wal, last_failed_wal) AS archived,
           pg_walfile_name(pg_current_wal_lsn()) AS current,
           coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) AS failing
    FROM pg_stat_archiver WHERE current_setting('archive_mode') <> 'off' AND NOT pg_is_in_recovery()
)
SELECT (('x' || substr(current, 9, 8))::bit(32)::bigint - ('x' || substr(archived, 9, 8))::bit(32)::bigint)
       * (4294967296 / segment) + ('x' || substr(current, 17, 8))::bit(32)::bigint
       - ('x' || substr(archived, 17, 8))::bit(32)::bigint AS waiting, failing
FROM named, size WHERE archived ~ '^[0-9A-F]{24}$'
"""

SLOTS = """
SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS kept, safe_wal_size
FROM pg_replication_slots
WHERE restart_lsn IS NOT NULL AND (pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > %(most)s
      OR safe_wal_size < (SELECT 4 * setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'))
ORDER BY kept DESC LIMIT 1
"""

# The table that a worker is at is known from its lock, which every role may see.
AUTOVACUUM = """
SELECT l.pid FROM pg_locks l JOIN pg_stat_progress_vacuum v ON v.pid = l.pid
JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = to_regclass(%(table)s)
  AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
  AND (%(any)s OR a.query LIKE '%%to prevent wraparound%%'
       OR a.query IS NULL AND age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::bigint)
LIMIT 1
"""

_ACTIVE = """
SELECT count(*) FILTER (WHERE state = 'active') AS active,
       count(*) FILTER (WHERE state IS NULL AND backend_type IS NULL) > 0 AS hidden
FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


class Health:
    """Whether a fill of one table is to wait, asked at most once a second."""

    def __init__(self, connection: Connection, pace: Pace, table: str) -> None:
        self._connection = connection
        self._given = pace
        self._table = table
        self._asked = time.monotonic()
        self._said: set[str] = set()
        self.pace = pace
        """The pace as it is now: with what was asked for from another terminal."""

    def breathe(self) -> None:
        """Wait while there is a reason to; it is logged when it begins and when it changes."""
        if time.monotonic() - self._asked < _EVERY:
            return
        waited_for = None
        while reason := self._reason():
            if reason.partition(":")[0] != waited_for:
                log.info("paused: %s", reason)
                events.emit("paused", reason=reason)
                waited_for = reason.partition(":")[0]
            time.sleep(_EVERY)
        if waited_for:
            log.info("going on")
            events.emit("resumed")
        self._asked = time.monotonic()

    def _reason(self) -> str | None:
        asked = control.read(self._connection, self._given.version_table)
        if asked.settings:
            self.pace = control.tuned(self._given, asked.settings)
        elif self.pace is not self._given:
            self.pace = self._given
        if asked.paused:
            return f"by `lockstep pause` of {asked.changed_by} at {asked.changed_at}; see: lockstep resume"
        return next(self._reasons(), None)

    def _reasons(self) -> Iterator[str]:
        pace, ask = self.pace, self._rows
        for lag, hidden in ask(_REPLICAS):
            if hidden:
                self._say_once("how far replicas are behind")
            if lag > pace.max_replica_lag:
                yield f"a replica: it is {lag:.0f} s behind"
        for waiting, failing in ask(_ARCHIVER):
            if waiting > pace.max_archive_queue:
                state = "fails" if failing else "is behind"
                yield f"the WAL archive: archiving {state}, {waiting} segments wait"
        for name, kept, _ in ask(SLOTS, most=pace.max_slot_retention):
            yield f"the replication slot {name}: it keeps {kept / 2**30:.1f} GiB of WAL"
        if ask(AUTOVACUUM, table=self._table.removeprefix("ONLY "), any=pace.pause_for_autovacuum):
            yield f"autovacuum: it is at work on {self._table.removeprefix('ONLY ')}"
        if pace.max_active_sessions is not None:
            for active, hidden in ask(_ACTIVE):
                if hidden:
                    self._say_once("how many sessions are active")
                if active > pace.max_active_sessions:
                    yield f"active sessions: there are {active}"
        yield from self._users_own()

    def _users_own(self) -> Iterator[str]:
        condition = self.pace.pause_while
        answer: Any = None
        if isinstance(condition, Path):
            answer = f"the file {condition}: it is there" if condition.exists() else None
        elif callable(condition):
            answer = condition()
        elif condition:
            found = self._rows(condition)
            answer = found[0][0] if found else None
        if answer:
            yield answer if isinstance(answer, str) else "Pace.pause_while: it says so"

    def _rows(self, query: str, **values: Any) -> list[Any]:
        return list(catalog.rows(self._connection, query, **values))

    def _say_once(self, what: str) -> None:
        if what in self._said:
            return
        self._said.add(what)
        log.warning(
            "this role cannot see %s, so no fill waits for it: GRANT pg_read_all_stats TO %s",
            what, catalog.scalar(self._connection, "SELECT quote_ident(current_user)"),
        )  # fmt: skip


def wait_while_paused(connection: Connection, pace: Pace) -> Pace:
    """Wait while somebody has paused the migration; return the pace as it is asked for now.

    Holds no transaction meanwhile: for connections in autocommit mode.
    """
    told = False
    while True:
        asked = control.read(connection, pace.version_table)
        if not asked.paused:
            break
        if not told:
            log.info("paused by `lockstep pause` of %s; see: lockstep resume", asked.changed_by)
            events.emit("paused", reason=f"by `lockstep pause` of {asked.changed_by}")
            told = True
        time.sleep(_EVERY / 2)
    if told:
        log.info("going on")
        events.emit("resumed")
    try:
        return control.tuned(pace, asked.settings)
    except LockstepError as error:
        log.warning("what was asked for is left aside: %s", error)
        return pace
