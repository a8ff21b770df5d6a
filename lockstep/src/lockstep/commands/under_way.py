"""A migration that is under way in another process, as its ledger and PostgreSQL's own views tell of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.postgres import catalog
from lockstep.revision.one_migrator import resolved_version_table
from lockstep.steps import control
from lockstep.steps.progress import REPORTED

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Entry, Ledger
    from lockstep.steps.step import Fill

#: Pages that are looked at to tell how much of a table is filled.
_SAMPLE = 500

_MIGRATOR = """
SELECT a.pid, a.usename AS role, coalesce(a.client_addr::text, '') AS address, a.state, a.query,
    extract(epoch FROM clock_timestamp() - a.xact_start) AS seconds
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%(lock)s, 0)
"""

_WAITING = """
SELECT w.pid, b.pid AS holder, extract(epoch FROM clock_timestamp() - w.query_start)::float AS seconds,
    (SELECT min(relation::regclass::text) FROM pg_locks l WHERE l.pid = w.pid AND NOT granted
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS relation
FROM pg_stat_activity w, LATERAL unnest(pg_blocking_pids(w.pid)) AS b(pid)
WHERE w.datname = current_database() ORDER BY w.query_start
"""


@dataclass(frozen=True)
class Waiting:
    """A session that waits for a lock of another one."""

    pid: int
    holder: int
    seconds: float
    relation: str | None

    def __str__(self) -> str:
        table = f" on {self.relation}" if self.relation else ""
        return f"pid {self.pid} waits for pid {self.holder}{table}, {self.seconds:.1f} s"


@dataclass(frozen=True)
class UnderWay:
    """What is under way at a moment."""

    revision: str | None
    """None where a revision is one transaction, of which nothing is seen from outside."""
    direction: str | None = None
    operation: str | None = None
    step: str | None = None
    steps_done: int = 0
    steps: int = 0
    phase: str | None = None
    share: float | None = None
    """How much of the step is done, from 0 to 1; None where nothing tells."""
    migrator: int | None = None
    """The process id of its session; None where no process is at work."""
    role: str | None = None
    transaction_seconds: float | None = None
    paused_by: str | None = None
    waiting: list[Waiting] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look(context: MigrationContext, ledger: Ledger) -> UnderWay | None:
    """What is under way; None where nothing is. Only reads, and waits for no lock."""
    connection = context.connection
    assert connection is not None  # noqa: S101  # for mypy: it was looked at
    table = resolved_version_table(connection, context.version_table, context.version_table_schema)
    found = catalog.rows(connection, _MIGRATOR, lock=f"lockstep {table}")
    half_done = ledger.read_all(connection)
    if not found and not half_done:
        return None
    asked = control.read(connection, ledger.version_table)
    at_work: dict[str, Any] = {"paused_by": asked.changed_by if asked.paused else None}
    if found:
        migrator = found[0]
        seconds = None if migrator.seconds is None else float(migrator.seconds)
        at_work |= {"migrator": migrator.pid, "role": migrator.role, "transaction_seconds": seconds}
    at_work["waiting"] = [Waiting(*row) for row in catalog.rows(connection, _WAITING)]
    if not half_done:
        return UnderWay(None, **at_work)
    one = half_done[-1]
    entry = next((each for each in one.entries if not each.finished), None)
    if entry is None:
        return UnderWay(one.revision, one.direction, **at_work)
    phase, share = _progress(connection, found[0].pid if found else None, entry)
    step = entry.steps[entry.done]
    return UnderWay(
        one.revision, one.direction, entry.says, step.description, entry.done, len(entry.steps), phase, share,
        **at_work,
    )  # fmt: skip


def _progress(connection: Connection, pid: int | None, entry: Entry) -> tuple[str | None, float | None]:
    """What PostgreSQL reports of the session's command; of a fill, how many rows of a sample are filled."""
    for phase, done, total in catalog.rows(connection, REPORTED, pid=pid) if pid is not None else ():
        return str(phase), float(done or 0) / float(total) if total else None
    fill = entry.steps[entry.done].fill
    return None, None if fill is None else _filled(connection, fill)


def _filled(connection: Connection, fill: Fill) -> float | None:
    table = fill.table.removeprefix("ONLY ")
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            pages = catalog.scalar(
                connection,
                "SELECT pg_relation_size(%(name)s::regclass) / current_setting('block_size')::int",
                name=table,
            )
            percent = min(100.0, 100.0 * _SAMPLE / max(int(pages or 0), 1))
            left = catalog.scalar(
                connection,
                f"SELECT count(*) FILTER (WHERE {fill.predicate})::float / nullif(count(*), 0) "
                f"FROM {table} TABLESAMPLE SYSTEM ({percent})",
            )
    except DBAPIError:  # the table is locked, or is not this role's to read
        return None
    return None if left is None else 1 - float(left)
