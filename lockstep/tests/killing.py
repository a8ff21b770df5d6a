"""
Kills a migration at a chosen statement, or lets the statement fail, and goes on: the proof that Lockstep can
be stopped anywhere.

A point is one statement or commit of the migrator's connection. The migrator runs in a forked process that
counts its statements and, when it comes to the chosen one, kills itself (SIGKILL) or the server (immediate),
or raises an error in the statement's place, which the migrator has to deal with.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from cases import ROWS, SCHEMA, Case
from project import Project
from state import catalog_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.cluster import Cluster

State = tuple[list[str], dict[str, list[str]]]


def in_child(work: Callable[[], None], strike: Callable[[], None], at: int | None) -> tuple[int, bool]:
    """Run ``work`` in a forked process, ``strike`` at its statement number ``at``: (statements, failed)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        count = 0

        def tick(*_: Any) -> None:
            nonlocal count
            count += 1
            if count == at:
                strike()

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


class StruckError(sa.exc.DBAPIError):
    """A statement that fails, with an error that the driver might have raised."""

    def __init__(self) -> None:
        super().__init__("struck", None, psycopg.errors.DataError("struck"))


class Proof:
    """One case on one cluster: the undisturbed states, and every way of being killed on the way."""

    def __init__(self, cluster: Cluster, case: Case, folder: Path, template: str) -> None:
        self.cluster = cluster
        self.case = case
        self.template = template
        self.project = Project(folder, "", name=case.name[:28], short_way=False)
        self.project.revision(case.upgrade, case.downgrade)
        self._states: dict[tuple[str, ...], State] = {}
        self._upgraded: str | None = None

    def undisturbed(self, *directions: str) -> State:
        """What a database is like after these directions, one after the other, with nobody killed."""
        if directions not in self._states:
            database = self.cluster.create_database(self.template)
            # Down from nothing does nothing but create Alembic's own table.
            for direction in directions or ("downgrade",):
                self._go(database, direction)
            self._states[directions] = self._state(database)
            self.cluster.drop_database(database)
        return self._states[directions]

    def _go(self, database: str, direction: str) -> None:
        to = "head" if direction == "upgrade" else "base"
        getattr(self.project, direction)(to, self.cluster.url(database, "psycopg"))

    def _state(self, database: str) -> State:
        return catalog_of(self.cluster, database), rows_of(self.cluster, database, self.case.volatile)

    def points(self, direction: str) -> int:
        """How many statements the direction has, found by running it."""
        database = self._prepared(direction)
        counted, failed = in_child(lambda: self._go(database, direction), lambda: None, None)
        assert not failed
        self.cluster.drop_database(database)
        return counted

    def _prepared(self, direction: str) -> str:
        if direction == "upgrade":
            return self.cluster.create_database(self.template)
        if self._upgraded is None:
            self._upgraded = self.cluster.create_database(self.template)
            self._go(self._upgraded, "upgrade")
        return self.cluster.create_database(self._upgraded)

    def kill(self, direction: str, victim: str, at: int, then: str) -> str | None:
        """Kill ``victim`` at a point, go on in the direction ``then``; what is wrong afterwards, or None."""
        database = self._prepared(direction)

        def strike() -> None:
            if victim == "statement":
                raise StruckError
            if victim == "migrator":
                os.kill(os.getpid(), signal.SIGKILL)
            self.cluster.crash()

        in_child(lambda: self._go(database, direction), strike, at)
        if victim == "server":
            self.cluster.start()
        try:
            self._go(database, then)
        except Exception as error:  # noqa: BLE001  # told with the point it happened at
            return f"{type(error).__name__}: {error}"
        state = self._state(database)
        self.cluster.drop_database(database)
        return self._judge(state, direction, then)

    def _judge(self, state: State, direction: str, then: str) -> str | None:
        if then == "upgrade":
            right = [self.undisturbed("upgrade")]
            if direction == "downgrade":
                right.append(self.undisturbed("upgrade", "downgrade", "upgrade"))
        else:
            # Finished and then brought down by the revision's own downgrade(), or taken back.
            down, before = self.undisturbed("upgrade", "downgrade"), self.undisturbed()
            right = [down, (down[0], before[1]), before]
        if state in right:
            return None
        if state[0] not in [catalog for catalog, _ in right]:
            return f"another catalog: {sorted(set(state[0]) ^ set(right[0][0]))}"
        return f"other rows: {_difference(state[1], right[0][1])}"


def _difference(found: dict[str, list[str]], right: dict[str, list[str]]) -> str:
    for table in sorted({*found, *right}):
        here, there = set(found.get(table, ())), set(right.get(table, ()))
        if here != there or len(found.get(table, ())) != len(right.get(table, ())):
            return f"{table}: {sorted(here - there)[:2]} instead of {sorted(there - here)[:2]}"
    return "none"


def template_of(cluster: Cluster) -> str:
    """A database with the tables and rows of the cases."""
    name = cluster.create_database()
    with cluster.connect(name) as connection:
        connection.execute(SCHEMA + ROWS)
    return name


def ways() -> Iterator[tuple[str, str]]:
    """What runs when the blow falls, and what is run then."""
    yield "upgrade", "upgrade"
    yield "upgrade", "downgrade"
    yield "downgrade", "downgrade"
    yield "downgrade", "upgrade"
