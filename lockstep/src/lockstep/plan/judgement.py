"""Who would wait for a statement, and what else is to be feared of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lockstep.plan.operation import Effect, Lock, PlannedOperation, TableName
    from lockstep.plan.target import Target


class HazardName(StrEnum):
    """What can be allowed by name."""

    REWRITES = "rewrites-under-lock"
    """A table that is not small is written anew, and nobody may read or write it meanwhile."""
    SCANS = "scans-under-lock"
    """A table that is not small is read from one end to the other, and readers or writers wait meanwhile."""
    HOLDS = "holds-lock"
    """A table stays locked while another one, that is not small, is read or rewritten."""
    ROWS = "locks-rows"
    """Many rows are changed at once: who writes one of them waits until the transaction ends."""
    LOSES = "loses-data"
    """Rows or values are gone afterwards."""
    BREAKS = "breaks-running-program"
    """What the program uses that runs now is called otherwise afterwards, or gone, or refuses what it writes.
    """


#: The hazards because of which somebody waits.
WAITS = frozenset({HazardName.REWRITES, HazardName.SCANS, HazardName.HOLDS, HazardName.ROWS})


@dataclass(frozen=True)
class Hazard:
    """Something that is to be feared."""

    name: HazardName
    revision: str
    tables: tuple[TableName, ...]
    says: str
    operation: int
    """The number of the operation, in the order of the plan."""
    statement: int
    """And of its statement."""


@dataclass(frozen=True)
class Wait:
    """Who waits for a lock that a statement takes or that is held while it runs."""

    lock: Lock
    reads: bool
    """Whether readers wait; writers do anyway."""
    long_for: str = ""
    """What it takes that they wait for; empty where it is a moment."""

    def __str__(self) -> str:
        return told([self])[0]


def told(waiting: Iterable[Wait]) -> list[str]:
    """Who waits, a line for each reason."""
    lines: dict[tuple[str, bool], dict[str, None]] = {}
    for wait in waiting:
        lines.setdefault((wait.long_for, wait.reads), {})[str(wait.lock.table)] = None
    return [
        f"{'readers and writers' if reads else 'writers'} of {', '.join(tables)} wait"
        + (f" for as long as it takes to {long_for}" if long_for else " a moment")
        for (long_for, reads), tables in lines.items()
    ]


def waits(operations: Sequence[PlannedOperation], target: Target) -> dict[tuple[int, int], list[Wait]]:
    """For each statement, by the numbers of its operation and of its own, who waits because of it."""
    found: dict[tuple[int, int], list[Wait]] = {}
    for place, effect, held in _in_transactions(operations):
        large, takes = _takes(effect, target)
        each: dict[tuple[TableName, bool], Wait] = {}
        for lock in held if large else effect.locks:
            if not lock.blocks_writes:
                continue
            reads = lock.blocks_reads
            if (lock.table, not reads) in each:
                each.pop((lock.table, False), None)
                reads = True
            each.setdefault((lock.table, reads), Wait(lock, reads, takes))
        if each:
            found[place] = list(each.values())
    return found


def _in_transactions(
    operations: Sequence[PlannedOperation],
) -> Iterator[tuple[tuple[int, int], Effect, list[Lock]]]:
    """Each statement with its place and the locks that are held while it runs."""
    held: list[Lock] = []
    transaction = None
    for number, operation in enumerate(operations):
        for position, effect in enumerate(operation.effects):
            if effect.transaction != transaction:
                held, transaction = [], effect.transaction
            held = [*held, *effect.locks]
            yield (number, position), effect, held


def _takes(effect: Effect, target: Target) -> tuple[list[TableName], str]:
    """The tables, not small, that a statement reads or rewrites, and that in words."""
    rewritten = [table for table in effect.rewrites if target.is_large(table)]
    read = [table for table in effect.scans if target.is_large(table)]
    words = [f"{does} {', '.join(str(table) for table in tables)}"
             for does, tables in (("rewrite", rewritten), ("read", read)) if tables]  # fmt: skip
    return [*rewritten, *read], " and ".join(words)


def hazards(
    operations: Sequence[PlannedOperation], target: Target, *, lossless: bool = False
) -> list[Hazard]:
    """What is to be feared, in the order of the statements.

    ``lossless``: what these operations drop is kept (Lockstep's downgrades).
    """
    found: list[Hazard] = []
    waiting = waits(operations, target)
    for number, operation in enumerate(operations):
        for position, effect in enumerate(operation.effects):
            here: list[tuple[HazardName, list[TableName], str]] = []
            reasons: dict[HazardName, list[Wait]] = {}
            for wait in waiting.get((number, position), ()):
                if wait.long_for:
                    reasons.setdefault(_why(effect, wait), []).append(wait)
            for name, each in reasons.items():
                here.append((name, [wait.lock.table for wait in each], "; ".join(told(each))))
            large = [table for table in effect.scans if target.is_large(table)]
            if effect.writes_rows and large:
                text = f"who writes a row of {large[0]} that it changes waits until its transaction ends"
                here.append((HazardName.ROWS, large, text))
            for change in effect.changes:
                if change.loses and not lossless and target.has_rows(change.table):
                    here.append((HazardName.LOSES, [change.table], change.says))
                if change.breaks:
                    here.append((HazardName.BREAKS, [change.table], change.says))
            found += [
                Hazard(name, operation.revision, tuple(tables), text, number, position)
                for name, tables, text in here
            ]
    return found


def _why(effect: Effect, wait: Wait) -> HazardName:
    if wait.lock.table in effect.rewrites:
        return HazardName.REWRITES
    return HazardName.SCANS if wait.lock.table in effect.scans else HazardName.HOLDS
