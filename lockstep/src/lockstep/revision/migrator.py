"""One migrator at work: what the operations and revisions of one Alembic run have in common."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lockstep.errors import CannotContinueError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute
from lockstep.revision import history
from lockstep.revision.open_transaction import OpenTransaction
from lockstep.revision.performing import Performing, write_sql
from lockstep.revision.planning import Planning
from lockstep.revision.record import Record
from lockstep.revision.running import Running
from lockstep.revision.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from alembic.runtime.migration import MigrationContext, MigrationInfo, RevisionStep
    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Ledger, Underway
    from lockstep.revision.performing import Work
    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")


class Migrator:
    """The parts that run the revisions of one Alembic run, and which revision is at hand."""

    def __init__(
        self, pace: Pace, ledger: Ledger, *, short_way: bool = True, keeps_source: bool = True
    ) -> None:
        self.pace = pace
        self.ledger = ledger
        self.short_way = short_way
        self.keeps_source = keeps_source
        self.context: MigrationContext
        self.transaction = OpenTransaction(pace)
        self.planning: Planning
        """What an operation's planner may ask."""
        self._record: Record | None = None
        self._performing: Performing | None = None
        self._keeps: bool | None = None
        self._half_done: dict[str, Underway] | None = None
        self._places: list[int] = []
        """Numbers in the archive that nobody else has, not taken yet."""

    def configured(self, context: MigrationContext) -> None:
        """Alembic's context is there."""
        self.context = self.transaction.context = context
        self.planning = self._planning("", "")

    def _planning(self, revision: str, direction: str, *, keeps: bool = False) -> Planning:
        return Planning(
            self.context, self.pace, self.ledger.version_table, revision, direction, self.short_way, keeps,
            self._places,
        )  # fmt: skip

    @contextmanager
    def at_work(self, connection: Connection) -> Iterator[None]:
        """Listen to the connection, and see who waits for it."""
        if self.short_way:
            self.transaction.watcher = Watcher(connection, self.pace.lock_timeout / 2)
        try:
            with self.transaction.listener.on(connection):
                yield
        finally:
            if self.transaction.watcher is not None:
                self.transaction.watcher.close()

    # -- a revision ------------------------------------------------------------------------------------

    def half_done(self) -> list[Underway]:
        """The revisions that are half done; read once in a run, and again after something was taken back."""
        if self._half_done is None:
            found = self.ledger.read_all(self.planning.connection)
            self._half_done = {one.revision: one for one in found}
        return list(self._half_done.values())

    def settled(self, revision: str) -> None:
        """The revision is not half done any more."""
        if self._half_done is not None:
            self._half_done.pop(revision, None)

    def migrate(self, step: RevisionStep, function: Callable[..., None], **arguments: Any) -> None:
        """Run one revision's function, from where an earlier run of it stopped.

        Raises CannotContinueError where an earlier run is in the way.
        """
        revision = str(step.revision.revision)
        direction = "upgrade" if step.is_upgrade else "downgrade"
        self.planning = self._planning(revision, direction, keeps=self._keeps_anything(direction))
        source = Path(step.revision.path).read_bytes()
        self.transaction.listener.planning = self.planning
        source_hash = hashlib.sha256(source).hexdigest()
        record = self._record = Record(self.ledger, revision, direction, source_hash)
        self._performing = Performing(self.planning, self.transaction, record)
        if self.planning.offline:
            function(**arguments)
            return
        known = {one.revision: one for one in self.half_done()}.get(revision)
        if known is not None:
            _continue(known, direction)
            record.committed, record.in_another_session = known, True
            self.planning.touched.continued = True
        running = Running(self.planning, self.transaction, record)
        started = time.monotonic()
        running.run(function, together=self.short_way, **arguments)
        self.transaction.listener.together_with = self._applied(
            step.revision, direction, time.monotonic() - started, source
        )

    def _applied(self, script: Any, direction: str, seconds: float, source: bytes) -> str:
        """What writes down that a revision was applied."""
        keeps = self.keeps_source and direction != "downgrade" and script.path.endswith(".py")
        return history.statement(
            self.ledger.version_table, script, direction, seconds, source if keeps else None
        )

    def _keeps_anything(self, direction: str) -> bool:
        """Whether downgrades of this version table kept anything; asked once, and after each downgrade."""
        if self.planning.offline or direction != "upgrade":
            return False
        if self._keeps is None:
            self._keeps = bool(
                catalog.scalar(
                    self.planning.connection,
                    "SELECT EXISTS (SELECT FROM lockstep.archive WHERE version_table = %(table)s)",
                    table=self.ledger.version_table,
                )
            )
        return self._keeps

    def finish(self, step: MigrationInfo, **_: Any) -> None:
        """Alembic's on_version_apply hook: forget the ledger in the transaction of the version table, and
        write down what was applied where no statement has taken that along.
        """
        if not self.planning.offline:
            self._write_history(step)
        if self._record is not None and not self.planning.offline:
            self._record.finish(self.planning.connection)
            self.settled(self._record.revision)
            self._keeps = None if self.planning.direction == "downgrade" else self._keeps
            if self.planning.direction == "downgrade":
                self.ledger.claim(self.planning.connection)

    def _write_history(self, step: MigrationInfo) -> None:
        listener = self.transaction.listener
        left, listener.together_with = [listener.together_with], None
        if step.is_stamp:
            scripts: list[Any] = [
                step.revision_map.get_revision(name) for name in step.destination_revision_ids
            ]
            left = [self._applied(one, "stamp", 0, Path(one.path).read_bytes()) for one in scripts]
        for one in left:
            if one is not None:
                execute(self.planning.connection, one)

    # -- an operation ----------------------------------------------------------------------------------

    def perform(self, work: Work) -> Any:
        """Run one operation."""
        if self.planning.offline:
            return write_sql(self.planning, work)
        if self._performing is None:  # pragma: no cover - operations run in revisions
            return work.as_written()
        return self._performing.perform(work)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An operation, which may fail: the revision ends with that, even where its code goes on."""
        if self.planning.offline:
            yield
            return
        self.transaction.refuse_after_failure()
        try:
            yield
        except BaseException as error:  # a bare `except:` catches all of them
            self.transaction.note_failure(error)
            raise

    def unheard(self) -> AbstractContextManager[None]:
        """While Lockstep asks, what it sends is not written down as the revision's own."""
        return self.transaction.listener.hearing(hears=False)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Outside of Alembic's transaction, which is committed first."""
        if self.planning.offline:
            yield
            return
        with self.transaction.outside():
            yield


def _continue(underway: Underway, direction: str) -> None:
    if underway.direction != direction:
        raise CannotContinueError(
            f"the {underway.direction} of revision {underway.revision} is half done, "
            f"so its {direction} cannot start: `alembic {underway.direction}` finishes it"
        )
    log.info(
        "continuing revision %s, begun at %s: %d operations are under way or done",
        underway.revision, underway.started_at, len(underway.entries),
    )  # fmt: skip
