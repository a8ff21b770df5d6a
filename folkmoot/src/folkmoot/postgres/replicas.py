"""Replicas: servers that follow the primary's write-ahead log, and answer what only reads (docs/replicas.md).

Each is looked at every half second, and used as long as it follows this primary closely enough. What it is
asked runs within a bound, and is not run at all where it has not replayed what whoever asks has seen.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import structlog

from folkmoot.postgres.pool import INSERTED, Connection, Pool, connect, open_pool
from folkmoot.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from folkmoot.settings import Settings

_T = TypeVar("_T")
#: How often a replica is looked at, and how long it may take to answer that, in seconds.
_EVERY, _ANSWERS = 0.5, 1.0
#: How long a replica is used after it was last found well, in seconds.
_TRUSTED = 3.0
#: How long what is asked of a replica may take, in seconds, before it is asked of the primary.
READ_SECONDS = 2.0
#: How far behind a replica may be, in seconds: who has seen nothing newer is shown what is as old as that.
MOST_LAG = 10.0
#: At every which look what nobody needs to remember is forgotten.
_FORGOTTEN = 120
#: How long a start waits for a replica that is behind, in seconds.
_PATIENCE = 10.0

_REPLAYED = "SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END"
_IDENTITY = """
    SELECT pg_is_in_recovery() AS follows, (SELECT system_identifier FROM pg_control_system()) AS system,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database
"""
# The timeline that is streamed is shown to roles with pg_read_all_stats alone.
_FOLLOWING = f"""
    {_IDENTITY}, (pg_last_wal_replay_lsn() - '0/0')::bigint AS position,
           (SELECT received_tli FROM pg_stat_wal_receiver) AS timeline
"""
_PRIMARY = f"""
    {_IDENTITY}, ({INSERTED}) AS position,
           ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int AS timeline
"""
_REVISION = "SELECT array_agg(version_num ORDER BY version_num) FROM alembic_version"
_FORGET = "DELETE FROM seen_positions WHERE position <= $1 AND key <> ''"
_log = structlog.stdlib.get_logger("folkmoot")


class MissedError(Exception):
    """A replica does not answer this; the primary does."""


class _Following(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection to a replica, and how far that has replayed the log, as far as the connection knows.

    Kept by connection, since none outlives a restart, after which a replica may begin further back than it
    was. What was read of it before is no newer than the primary was when the connection was made: `floor`.
    """

    floor = sys.maxsize
    position = 0

    async def has(self, seen: int) -> bool:
        """Whether the replica has replayed the log as far as that."""
        wanted = max(seen, self.floor)
        if self.position < wanted:
            self.position = await self.fetchval(_REPLAYED) or 0
        return self.position >= wanted


class Replica:
    """One replica, as one worker knows it."""

    def __init__(self, name: str, settings: Settings, conninfo: dict[str, str], primary: Pool) -> None:
        self.name = name
        #: How many times it answered, and how many times it did not.
        self.answered = self.missed = 0
        self._settings = settings
        self._conninfo = conninfo
        self._primary = primary
        #: Its connections, while it is `opened`.
        self.pool: Pool | None = None
        self._watching: Connection | None = None
        self._until = 0.0

    @property
    def usable(self) -> bool:
        return monotonic() < self._until

    async def run(self, seen: int, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Do what only reads.

        Raises MissedError where the replica has not replayed as far as `seen`, does not answer in time, or
        fails in a way that the primary may not.
        """
        if not self.usable or self.pool is None:
            self.missed += 1
            raise MissedError
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await self._ask(self.pool, seen, work)
        except MissedError:
            self.missed += 1
            raise
        except asyncpg.QueryCanceledError:  # a time limit of its own
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            # Anything but a lost connection is the query's, as a conflict with what is replayed (40001).
            if not isinstance(error, asyncpg.PostgresError) or (error.sqlstate or "")[:2] in {"08", "57"}:
                self._leave_out(type(error).__name__)
            self.missed += 1
            raise MissedError from error
        self.answered += 1
        return found

    @staticmethod
    async def _ask(pool: Pool, seen: int, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        connection = await pool.acquire()
        try:
            if not await connection.has(seen):
                raise MissedError
            return await work(connection)
        except asyncio.CancelledError:
            connection.terminate()  # it may never answer, and its release would wait for that
            raise
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Its connections, for the length of the block."""

        async def floored(connection: _Following) -> None:
            connection.floor = await self._primary.fetchval(INSERTED)

        self.pool = await open_pool(self._settings, self._conninfo, _Following, floored)
        try:
            yield
        finally:
            self._until = 0.0
            self.pool.terminate()
            self._forget()

    async def open_all(self, first: Callable[[Connection], Awaitable[None]]) -> None:
        """Open every connection, as those of the primary; nothing where it is left out."""
        if self.usable and self.pool is not None:
            await self.pool.open_all(first)

    async def look(self, primary: Primary) -> None:
        """Look whether it follows the primary closely enough, and use it from now on, or no longer."""
        try:
            async with asyncio.timeout(_ANSWERS):
                if self._watching is None or self._watching.is_closed():
                    self._watching = await connect(self._settings, self._conninfo)
                found = await self._watching.fetchrow(_FOLLOWING)
            reason = wrong(found, primary.found) or primary.lost(found)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            reason = type(error).__name__  # the text may name hosts and roles
            self._forget()
        if reason is None:
            if not self.usable:
                _log.info("replica_used", replica=self.name)
            self._until = monotonic() + _TRUSTED
        else:
            self._leave_out(reason)

    def _leave_out(self, reason: str) -> None:
        if self.usable or self._until == 0.0:
            _log.warning("replica_left_out", replica=self.name, reason=reason)
        self._until = -1.0

    def _forget(self) -> None:
        if self._watching is not None:
            self._watching.terminate()
            self._watching = None


class Primary:
    """How far the primary's log went at the last looks, by which the lag of a replica is told."""

    found: asyncpg.Record | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watching: Connection | None = None
        self._looks: deque[tuple[float, int]] = deque()

    async def look(self) -> None:
        """Look how far the log goes; where the primary does not answer, replicas lag from then on."""
        try:
            async with asyncio.timeout(_ANSWERS):
                if self._watching is None or self._watching.is_closed():
                    self._watching = await connect(self._settings)
                self.found = await self._watching.fetchrow(_PRIMARY)
            self._looks.append((monotonic(), self.found["position"]))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            self.close()
        while self._looks and self._looks[0][0] < monotonic() - 2 * MOST_LAG:
            self._looks.popleft()

    async def forget(self) -> None:
        """Forget what every replica has that may be in use."""
        if self._looks and self._watching is not None and monotonic() - self._looks[0][0] > 1.5 * MOST_LAG:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._watching.execute(_FORGET, self._looks[0][1])

    def close(self) -> None:
        if self._watching is not None:
            self._watching.terminate()
            self._watching = None

    def lost(self, replica: Any) -> str | None:
        """Why a replica does not follow closely enough, or None where it does."""
        if self.found is not None and replica["timeline"] not in {None, self.found["timeline"]}:
            return "on another timeline"
        had = (when for when, inserted in self._looks if inserted <= (replica["position"] or 0))
        return None if monotonic() - max(had, default=0.0) <= MOST_LAG else "too far behind"


class Replicas:
    """All replicas of a database."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.each = [
            Replica(f"replica {number}", settings, conninfo, pool)
            for number, conninfo in enumerate(settings.read_conninfos(), 1)
        ]
        self.pool = pool
        self._primary = Primary(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Replicas]:
        """Look at the replicas for the length of the block; the first time before it begins."""
        async with AsyncExitStack() as stack:
            for replica in self.each:
                await stack.enter_async_context(replica.opened())
            await self._look()
            stack.callback(self._primary.close)
            stack.callback(asyncio.create_task(self._watch()).cancel)
            yield self

    async def _look(self) -> None:
        await self._primary.look()
        await asyncio.gather(*(replica.look(self._primary) for replica in self.each))

    async def _watch(self) -> None:
        for number in count(1):
            await asyncio.sleep(_EVERY)
            await self._look()
            if number % _FORGOTTEN == 0:
                await self._primary.forget()


def wrong(found: Any, primary: Any) -> str | None:
    """Why a server is no replica of the primary that it is to stand for, or None where it is one."""
    if primary is None:
        return "the primary was not reached yet"
    if not found["follows"]:
        return "not in recovery, so it is no replica"
    if found["system"] != primary["system"]:
        return "a replica of another server than that of DATABASE_URL"
    return None if found["database"] == primary["database"] else "for another database than DATABASE_URL"


async def check(settings: Settings) -> list[str]:
    """See to it that each read URL is of a replica of the primary, at its schema revision; returns what was
    not reached, and is left out until it is. Raises SettingsError.
    """
    unreached, failed = [], []
    primary = await connect(settings)
    try:
        identity, revision = await primary.fetchrow(_IDENTITY), await primary.fetchval(_REVISION)
        position = await primary.fetchval(INSERTED)
        for number, conninfo in enumerate(settings.read_conninfos(), 1):
            which = f"DATABASE_READ_URL: server {number}"
            try:
                async with asyncio.timeout(_PATIENCE):
                    found = await _checked(settings, conninfo, identity, revision, position)
            except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
                failed.append(f"{which} lets nobody in as this role to this database ({error.sqlstate})")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                unreached.append(
                    f"{which} cannot be reached ({type(error).__name__}); it is left out until it can"
                )
            else:
                if found:
                    failed.append(f"{which} is {found}")
    finally:
        primary.terminate()
    if failed:
        raise SettingsError("\n".join(failed))
    return unreached


async def _checked(
    settings: Settings, conninfo: dict[str, str], identity: Any, revision: list[str], position: int
) -> str | None:
    connection = await connect(settings, conninfo)
    deadline = monotonic() + _PATIENCE / 2
    try:
        if reason := wrong(await connection.fetchrow(_IDENTITY), identity):
            return reason
        while (  # noqa: ASYNC110 - there is no event
            await connection.fetchval(_REPLAYED) or 0
        ) < position and monotonic() < deadline:
            await asyncio.sleep(0.05)  # before PostgreSQL 19 nothing tells of it
        found = await connection.fetchval(_REVISION)
    finally:
        connection.terminate()
    if found == revision:
        return None
    return f"at the schema revision {', '.join(found or ['none'])}, and not {', '.join(revision or ['none'])}"
