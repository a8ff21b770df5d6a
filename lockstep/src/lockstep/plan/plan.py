"""A whole plan: what will run, what is to be feared of it, and what a program reads of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lockstep.plan.judgement import WAITS, Hazard, HazardName, hazards, waits
from lockstep.plan.sources import versions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from lockstep.plan.estimates import Estimate
    from lockstep.plan.finding import Finding
    from lockstep.plan.obstacles import Obstacle
    from lockstep.plan.operation import Effect, PlannedOperation
    from lockstep.plan.target import Target


@dataclass(frozen=True)
class PlannedRevision:
    """A revision that is to run."""

    revision: str
    says: str
    """Its message."""
    file_hash: str
    """SHA-256 of its file."""
    path: str
    """Of its file."""


@dataclass(frozen=True)
class Plan:
    """What a migration would do to a database."""

    target: Target
    direction: str
    end: tuple[str, ...]
    """The revisions that the database is at afterwards."""
    revisions: Sequence[PlannedRevision]
    adopted: bool
    """Whether Lockstep runs them, or plain Alembic."""
    plain: Sequence[PlannedOperation]
    lockstep: Sequence[PlannedOperation]
    allowed: Collection[str] = ()
    findings: Sequence[Finding] = ()
    """What the target's rows say."""
    obstacles: Sequence[Obstacle] = ()
    """What stands in the way now."""
    estimates: Sequence[Estimate] = ()
    """What statements would take, where that was asked for."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what the revisions import and read, by paths from the folder of env.py."""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """A hash of how each table is made in the target, by its name."""

    @property
    def runs(self) -> Sequence[PlannedOperation]:
        """What will run."""
        return self.lockstep if self.adopted else self.plain

    def hazards(self) -> list[Hazard]:
        """Those of what will run. What is lost and what breaks is the same either way, but that a downgrade
        of Lockstep's keeps what it drops.
        """
        keeps = self.adopted and self.direction == "downgrade"
        plain = hazards(self.plain, self.target, lossless=keeps)
        waiting = hazards(self.lockstep, self.target) if self.adopted else plain
        return [h for h in waiting if h.name in WAITS] + [h for h in plain if h.name not in WAITS]

    def is_allowed(self, hazard: Hazard) -> bool:
        return hazard.name in self.allowed

    @property
    def is_safe(self) -> bool:
        """Whether nobody waits, no data stand in the way, and nothing is to be feared that is not allowed."""
        return not any(one.fails for one in self.findings) and all(
            self.is_allowed(hazard) for hazard in self.hazards()
        )

    def fingerprint(self) -> str:
        """Of what will run: the revisions' files, what they import and read, and what plain Alembic sends."""
        sent = [*(revision.file_hash for revision in self.revisions), *self.files.values()]
        sent += [statement for operation in self.plain for statement in operation.sql]
        return hashlib.sha256("\0".join(sent).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """As plan.schema.json describes it."""
        return {
            "database": self.target.database,
            "server_version": self.target.server_version,
            "direction": self.direction,
            "from": list(self.target.heads),
            "to": list(self.end),
            "lockstep": self.adopted,
            "safe": self.is_safe,
            "fingerprint": self.fingerprint(),
            "revisions": [
                {"revision": one.revision, "message": one.says, "file_sha256": one.file_hash}
                for one in self.revisions
            ],
            "files": dict(self.files),
            "packages": versions(),
            "tables": [
                {"table": str(name), "rows": self.target.tables[name].rows,
                 "bytes": self.target.tables[name].bytes, "size": self.target.tables[name].named,
                 "schema_sha256": self.shapes.get(str(name))}
                for name in sorted(self._tables())
            ],
            "plain": _operations(self.plain, self.target),
            "with_lockstep": _operations(self.lockstep, self.target),
            "hazards": [
                {"name": str(one.name), "revision": one.revision,
                 "tables": [str(table) for table in one.tables], "says": one.says,
                 "operation": one.operation, "statement": one.statement, "allowed": self.is_allowed(one)}
                for one in self.hazards()
            ],
            "findings": [
                {"kind": str(one.kind), "revision": one.revision, "statement": one.statement,
                 "table": one.table, "says": one.says, "fails": one.fails, "count": one.count,
                 "at_least": one.at_least,
                 "rows": [{key: str(value) for key, value in row.items()} for row in one.rows]}
                for one in self.findings
            ],
            "obstacles": [
                {"kind": str(one.kind), "says": one.says, "do": one.do, "table": one.table, "pid": one.pid}
                for one in self.obstacles
            ],
            "estimates": [
                {"revision": one.revision, "statement": one.statement, "table": one.table, "rows": one.rows,
                 "work": str(one.work), "seconds": [one.seconds.low, one.seconds.high],
                 "wal_bytes": [one.wal.low, one.wal.high], "disk_bytes": [one.disk.low, one.disk.high]}
                for one in self.estimates
            ],
        }  # fmt: skip

    def _tables(self) -> set[Any]:
        concerned = {
            name
            for operation in (*self.plain, *self.lockstep)
            for effect in operation.effects
            for name in (*(lock.table for lock in effect.locks), *effect.rewrites, *effect.scans)
        }
        return concerned & set(self.target.tables)


def _operations(operations: Sequence[PlannedOperation], target: Target) -> list[dict[str, Any]]:
    waiting = waits(operations, target)
    return [
        {
            "revision": operation.revision,
            "operation": says(operation),
            "table": None if operation.table is None else str(operation.table),
            "statements": [
                _statement(effect)
                | {"waits": [
                    {"table": str(wait.lock.table), "reads": wait.reads, "long": bool(wait.long_for),
                     "says": str(wait)}
                    for wait in waiting.get((number, position), ())
                ]}
                for position, effect in enumerate(operation.effects)
            ],
        }
        for number, operation in enumerate(operations)
    ]  # fmt: skip


def _statement(effect: Effect) -> dict[str, Any]:
    return {
        "sql": effect.sql,
        "step": effect.step or None,
        "transaction": effect.transaction,
        "locks": [
            {"table": str(lock.table), "index": lock.index, "mode": lock.mode} for lock in effect.locks
        ],
        "rewrites": [str(table) for table in effect.rewrites],
        "scans": [str(table) for table in effect.scans],
        "changes": [{"says": one.says, "breaks": one.breaks, "loses": one.loses} for one in effect.changes],
    }


def says(operation: PlannedOperation) -> str:
    """An operation in a few words; its SQL where it is the revision's own."""
    done = operation.operation
    if done is None:
        return " ".join(operation.sql[0].split()) if operation.sql and operation.sql[0] else "SQL"
    kind = type(done).__name__.removesuffix("Op")
    words = "".join("_" + letter.lower() if letter.isupper() else letter for letter in kind).lstrip("_")
    column = getattr(done, "column", None)
    names = [
        getattr(done, "index_name", None), getattr(done, "constraint_name", None),
        getattr(done, "table_name", None), getattr(done, "source_table", None),
        getattr(done, "column_name", None), getattr(column, "name", None),
    ]  # fmt: skip
    return f"{words}({', '.join(str(name) for name in names if name)})"


def names() -> list[str]:
    """The names of the hazards."""
    return [str(name) for name in HazardName]
