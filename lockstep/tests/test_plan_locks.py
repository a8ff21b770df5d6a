"""What `lockstep plan` tells of locks and rewrites is what the same revisions do on tables with rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command

from cases import CASES, ROWS, SCHEMA, Case
from databases import database18
from lockstep.commands.plan import planned
from lockstep.commands.project import Project as Planned
from lockstep.plan.operation import MODES
from project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import psycopg

    from lockstep.plan.operation import PlannedOperation
    from testing.cluster import Cluster

database = database18()

#: Posts are not small then; the others are.
TABLES = SCHEMA.replace("code varchar(20),", "code varchar(20), filler text DEFAULT repeat('x', 300),")

#: Those that keep readers or writers waiting, as pg_locks spells them.
BLOCKING = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES[MODES.index("SHARE") :]}

_HELD = """
SELECT c.oid, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = %s AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.oid >= 16384 AND c.relkind IN ('r', 'S') AND n.nspname = 'public' AND c.relname <> 'alembic_version'
"""


class Seen:
    """The strongest lock on each table that another session sees, while a migration runs."""

    def __init__(self, other: psycopg.Connection[Any]) -> None:
        self.locks: dict[str, str] = {}
        self._other = other
        relations = "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'S') AND oid >= 16384"
        self._names = dict(other.execute(relations).fetchall())

    def look(self, connection: Any, *_: Any) -> None:
        pid = connection.connection.dbapi_connection.info.backend_pid
        for oid, mode in self._other.execute(_HELD, [pid]):
            name, spelt = self._names.get(oid), BLOCKING.get(mode)
            if name and spelt and MODES.index(spelt) >= MODES.index(self.locks.get(name, spelt)):
                self.locks[name] = spelt


@contextmanager
def seen(cluster: Cluster, database: str) -> Iterator[Seen]:
    with cluster.connect(database) as other:
        found = Seen(other)
        sa.event.listen(sa.engine.Engine, "after_cursor_execute", found.look)
        try:
            yield found
        finally:
            sa.event.remove(sa.engine.Engine, "after_cursor_execute", found.look)


def told(operations: Sequence[PlannedOperation]) -> dict[str, str]:
    """The strongest lock on each table that keeps somebody waiting, as the plan has it."""
    found: dict[str, str] = {}
    for lock in (lock for one in operations for effect in one.effects for lock in effect.locks):
        name = lock.table.name
        if (
            lock.index is None
            and lock.blocks_writes
            and MODES.index(lock.mode) >= MODES.index(found.get(name, "SHARE"))
        ):
            found[name] = lock.mode
    return found


def rewritten(operations: Sequence[PlannedOperation]) -> set[str]:
    return {table.name for one in operations for effect in one.effects for table in effect.rewrites}


def files(cluster: Cluster, database: str) -> dict[int, tuple[str, int]]:
    with cluster.connect(database) as connection:
        found = connection.execute(
            "SELECT oid, relname, pg_relation_filenode(oid) FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'"
        )
        return {oid: (name, node) for oid, name, node in found}


def project_of(case: Case, folder: Path, cluster: Cluster, database: str) -> Project:
    """At the revision before the case, with rows in all tables."""
    project = Project(folder / "project", cluster.url(database, "psycopg"))
    statements = [statement for statement in TABLES.split(";") if statement.strip()]
    project.revision("\n".join(f"op.execute({statement!r})" for statement in statements))
    project.upgrade(plain=True)
    with cluster.connect(database) as connection:
        connection.execute(f"{ROWS}; ANALYZE")
    project.revision(case.upgrade, case.downgrade)
    return project


def check(case: Case, folder: Path, cluster: Cluster, database: str, *, plain: bool) -> None:
    project = project_of(case, folder, cluster, database)
    ini = folder / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {project.folder}\n")
    of = Planned([str(ini)], "alembic")
    of.config.attributes.update(project.config(plain=plain).attributes)
    plan = planned(of, "head", None, [])
    operations = plan.plain if plain else plan.lockstep
    assert plan.adopted is not plain
    before = files(cluster, database)
    with seen(cluster, database) as found:
        command.upgrade(project.config(plain=plain), "head")
    assert told(operations) == found.locks
    after = files(cluster, database)
    changed = {name for oid, (name, node) in before.items() if after.get(oid, ("", node))[1] != node}
    assert rewritten(operations) == changed


@pytest.mark.one_in(20)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plain_alembic_locks_and_rewrites_what_the_plan_says(
    case: Case, tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    check(case, tmp_path, cluster18, database, plain=True)


@pytest.mark.one_in(20)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lockstep_locks_and_rewrites_what_the_plan_says(
    case: Case, tmp_path: Path, cluster18: Cluster, database: str
) -> None:
    check(case, tmp_path, cluster18, database, plain=False)
