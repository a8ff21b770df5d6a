"""
Strikes a migration at a chosen statement and goes on: the proof that Lockstep can be stopped anywhere.

A point is one statement, commit or rollback of the migrator's connection. The migrator runs in a forked
process that counts them and, when it comes to the chosen one, is struck: it kills itself (SIGKILL) or the
server (immediate), or the statement fails in the server, with an error or for want of a lock.

What a death leaves behind is what was committed before it: of all points between which no transaction ends,
the proof takes one. Of statements that only read, one after the other, one fails; of the others each. Which
one, chance says, by a seed that changes each day.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ground import USE
from project import Project
from state import State, state_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from cases import Case
    from ground import Circumstances
    from testing.cluster import Cluster

#: What is struck: the migrator dies, the server does, a statement fails, a statement gets no lock.
BLOWS = ("migrator", "statement", "lock", "server")

#: Which way is struck, and what is run then. ``corrected``: upgraded by a file that was edited meanwhile.
WAYS = (
    ("upgrade", "upgrade"),
    ("upgrade", "downgrade"),
    ("upgrade", "corrected"),
    ("downgrade", "downgrade"),
    ("downgrade", "upgrade"),
)

_MORE = "op.create_table('corrected', sa.Column('id', sa.Integer(), primary_key=True))"


@dataclass
class Points:
    """The statements of a way, as they were counted in a run of it; the first one has number 1."""

    reads: list[bool] = field(default_factory=list)
    """Whether the statement only reads."""
    ended: list[int] = field(default_factory=list)
    """How many transactions that wrote something had ended in the server before it."""

    def __len__(self) -> int:
        return len(self.reads)

    def of_death(self, chance: random.Random) -> list[int]:
        """A point of each stretch in which no transaction ends: a death leaves the same at all of them."""
        stretches = groupby(range(1, len(self) + 1), key=lambda at: self.ended[at - 1])
        return [chance.choice(list(stretch)) for _, stretch in stretches]

    def of_failure(self, chance: random.Random) -> list[int]:
        """Each statement that does more than read, and one of each row of those that do not."""
        found = []
        for reads, group in groupby(range(1, len(self) + 1), key=lambda at: self.reads[at - 1]):
            row = list(group)
            found += [chance.choice(row)] if reads else row
        return found


def counted(work: Callable[[], None], connection: psycopg.Connection) -> Points:
    """Run ``work`` and count its points; the connection looks at the server meanwhile."""
    points = Points()

    def look(says: str) -> None:
        row = connection.execute(
            "SELECT pg_snapshot_xmax(s)::text::bigint, "
            "(SELECT count(*) FROM pg_snapshot_xip(s)) FROM pg_current_snapshot() s"
        ).fetchone()
        assert row
        points.reads.append(says.lstrip().upper().startswith(("SELECT", "SHOW")))
        points.ended.append(row[0] - row[1])

    def statement(_connection: Any, _cursor: Any, says: str, *_: Any) -> None:
        look(says)

    def end(_connection: Any) -> None:
        look("COMMIT")

    listeners: dict[str, Callable[..., Any]] = {
        "before_cursor_execute": statement, "commit": end, "rollback": end
    }  # fmt: skip
    with ExitStack() as stack:
        for name, listener in listeners.items():
            sa.event.listen(Engine, name, listener)
            stack.callback(sa.event.remove, Engine, name, listener)
        work()
    return points


def in_child(
    work: Callable[[], None], strike: Callable[[Any], None], at: int | str | None
) -> tuple[int, bool]:
    """Run ``work`` in a forked process, ``strike`` at its statement number ``at``, or before the first one
    that has this text: (statements, failed).
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        count = 0

        def tick(connection: Any, *about: Any) -> None:
            nonlocal count
            count += 1
            if count == at or (isinstance(at, str) and len(about) > 1 and at in str(about[1])):
                strike(connection)

        status = 1
        with suppress(BaseException):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stderr.fileno())
            for name in ("before_cursor_execute", "commit", "rollback"):
                sa.event.listen(Engine, name, tick)
            work()
            status = 0
        os.write(writing, str(count).encode())
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return int(told or 0), status != 0


def fail(connection: Any, condition: str) -> None:
    """Let a statement fail in the server, as the one at hand might."""
    driver = connection.connection.dbapi_connection
    try:
        driver.execute(f"DO $$ BEGIN RAISE {condition} USING MESSAGE = 'struck'; END $$")
    except psycopg.Error as error:
        raise sa.exc.DBAPIError.instance("struck", None, error, psycopg.Error) from error


class Proof:
    """Revisions of some cases under some circumstances: undisturbed, and struck on the way."""

    def __init__(
        self,
        cluster: Cluster,
        cases: tuple[Case, ...],
        circumstances: Circumstances,
        template: str,
        folder: Path,
    ) -> None:
        self.cluster = cluster
        self.circumstances = circumstances
        self.template = template
        self.volatile = tuple(case.volatile for case in cases if case.volatile)
        self.project = Project(folder, "", short_way=circumstances.mode != "steps")
        self._says = f"{' and '.join(case.name for case in cases)} ({circumstances})"
        self._up = "\n".join(case.upgrade for case in cases)
        self._down = "\n".join(case.downgrade for case in reversed(cases))
        self._write()
        self._made: dict[tuple[str, ...], str] = {(): template}
        self._states: dict[tuple[str, ...], State] = {}
        self._plain: dict[str, State] = {}

    def __str__(self) -> str:
        return self._says

    def clear(self) -> None:
        """Drop the databases that were kept."""
        for database in set(self._made.values()) - {self.template}:
            self.cluster.drop_database(database)
        self._made = {(): self.template}

    def _write(self, *, corrected: bool = False) -> None:
        self.project.count = 0
        more = f"\n{_MORE}" if corrected else ""
        less = "op.drop_table('corrected', if_exists=True)\n" if corrected else ""
        self.project.revision(self._up + more, less + self._down)

    # -- undisturbed -----------------------------------------------------------------------------------

    def is_possible(self) -> bool:
        """Whether plain Alembic can run the cases, one after the other, there and back."""
        database = self.cluster.create_database(self.template)
        try:
            for direction in ("upgrade", "downgrade"):
                self._go(database, direction, plain=True)
                self._plain[direction] = self._state(database)
            self._go(database, "upgrade", plain=True)
        except sa.exc.DBAPIError:
            return False
        finally:
            self.cluster.drop_database(database)
        return True

    def compare(self) -> str | None:
        """What is other than plain Alembic leaves it, with nobody struck; None where nothing is."""
        for way in (("upgrade",), ("upgrade", "downgrade")):
            if wrong := self.undisturbed(*way).difference(self._plain[way[-1]]):
                return f"undisturbed {', '.join(way)}: {wrong}"
        return None

    def undisturbed(self, *way: str) -> State:
        """What a database is like at the end of this way, with nobody struck."""
        if way not in self._states:
            self._states[way] = self._state(self._after(*way))
        return self._states[way]

    def _after(self, *way: str) -> str:
        """A database that is kept as it is at the end of the way."""
        if way not in self._made:
            *before, last = way
            database = self.cluster.create_database(self._after(*before))
            if last == "use":
                self._use(database)
            else:
                self._go(database, last)
            self._made[way] = database
        return self._made[way]

    def _use(self, database: str) -> None:
        """Somebody writes into what the revision has added, where it lets them."""
        with self.cluster.connect(database) as connection:
            connection.execute(USE.format(schema=self.circumstances.schema))

    def _start(self, direction: str) -> tuple[str, ...]:
        before = ("upgrade", "use", "downgrade") * self.circumstances.archive
        return before if direction == "upgrade" else (*before, "upgrade", "use")

    # -- struck ----------------------------------------------------------------------------------------

    def points(self, direction: str) -> Points:
        """The statements of the direction, found by running it."""
        database = self.cluster.create_database(self._after(*self._start(direction)))
        with self.cluster.connect() as connection:
            points = counted(lambda: self._go(database, direction), connection)
        self.cluster.drop_database(database)
        return points

    def strike(self, direction: str, blow: str, at: int, then: str) -> str | None:
        """Strike at a point and go on; what is wrong afterwards, or None.

        Then it goes the other way, which must end as if nobody had been struck as well.
        """
        start = self._start(direction)
        database = self.cluster.create_database(self._after(*start))

        def struck(connection: Any) -> None:
            if blow == "migrator":
                os.kill(os.getpid(), signal.SIGKILL)
            if blow == "server":
                self.cluster.crash()
            fail(connection, "lock_not_available" if blow == "lock" else "division_by_zero")

        in_child(lambda: self._go(database, direction), struck, at)
        if not self.cluster.runs():  # it does where fewer statements came this time
            self.cluster.start()
        try:
            wrong = self._go_on(database, start, direction, then)
        except Exception as error:  # noqa: BLE001  # told with the point it happened at
            wrong = f"{type(error).__name__}: {error}"
        if wrong is None:
            self.cluster.drop_database(database)
        return wrong

    def _go_on(self, database: str, start: tuple[str, ...], direction: str, then: str) -> str | None:
        done = (*start, direction)
        other = "downgrade" if direction == "upgrade" else "upgrade"
        if then == "corrected":
            return self._corrected(database, done)
        self._go(database, then)
        # Finished and gone back from; or taken back, so it never was.
        ends = [done] if then == direction else [start, (*done, other)]
        if wrong := self._judge(database, ends):
            return f"{then}: {wrong}"
        back = other if then == direction else direction
        self._go(database, back)
        ends = [(*done, other)] if then == direction else [done, (*done, other, direction)]
        if wrong := self._judge(database, ends):
            return f"{then}, then {back}: {wrong}"
        return None

    def _corrected(self, database: str, done: tuple[str, ...]) -> str | None:
        """Going on with a file that has another operation at its end."""
        self._go_by_corrected_file(database, "upgrade")
        with self.cluster.connect(database) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {self.circumstances.schema}.corrected")
        if wrong := self._judge(database, [done]):
            return f"corrected: {wrong}"
        self._go_by_corrected_file(database, "downgrade")
        wrong = self._judge(database, [(*done, "downgrade")])
        return wrong and f"corrected, then downgrade: {wrong}"

    def _go_by_corrected_file(self, database: str, direction: str) -> None:
        self._write(corrected=True)
        try:
            self._go(database, direction)
        finally:
            self._write()

    def _judge(self, database: str, ways: list[tuple[str, ...]]) -> str | None:
        """What is other than at the end of each of these ways; None where it is as at the end of one."""
        state = self._state(database)
        wrongs = []
        for way in ways:
            wrongs.append(state.difference(self.undisturbed(*way)))
            if wrongs[-1] is None:
                return None
        if len(ways) > 1:  # a part of it never was: PostgreSQL does not take back an enum's value
            first, last = self.undisturbed(*ways[0]), self.undisturbed(*ways[1])
            if state.difference(State(last.catalog, first.rows, first.sequences)) is None:
                return None
        return wrongs[-1]

    def _go(self, database: str, direction: str, *, plain: bool = False) -> None:
        to = "head" if direction == "upgrade" else "base"
        url = sa.make_url(self.cluster.url(database, "psycopg"))
        if self.circumstances.owner:
            url = url.set(username="migrator")
        url = url.update_query_dict({"options": f"-csearch_path={self.circumstances.schema}"})
        getattr(self.project, direction)(to, url.render_as_string(), plain=plain)

    def _state(self, database: str) -> State:
        """Without Alembic's version table: one that was never upgraded has none."""
        found = state_of(self.cluster, database, self.volatile)
        catalog = [statement for statement in found.catalog if "alembic_version" not in statement]
        return State(catalog, found.rows, found.sequences)
