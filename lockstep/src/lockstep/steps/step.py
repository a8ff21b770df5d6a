"""A step as data: it is written down before it runs, so that another process can go on with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a step is run."""

    BRIEF = "brief"
    """One short transaction that may block others: short lock_timeout, retried."""
    LONG = "long"
    """One transaction that may take long and blocks neither readers nor writers."""
    OUTSIDE = "outside"
    """Outside of any transaction (CONCURRENTLY); recognised from the catalog when it was interrupted."""
    VALIDATED = "validated"
    """A constraint: the first statement adds it in a short transaction, the others validate it in another.
    Where rows break it, ``leftover`` drops it again: it refuses to write what could be written before."""
    FILL = "fill"
    """Batches, each a transaction of its own; goes on where its predicate still holds."""
    COPY = "copy"
    """Batches too; a range of pages that was carried over already changes nothing."""
    UNKNOWN = "unknown"
    """A statement of the revision's that runs outside of transactions and that no catalog tells about."""


#: Steps that are there or not, with what is written down of them.
IN_ONE_TRANSACTION = frozenset({Kind.BRIEF, Kind.LONG})

#: What fields were called in ledgers that an earlier version wrote.
_OLD_NAMES = {"says": "description", "quiet": "without_triggers", "own": "parallel"}


@dataclass(frozen=True)
class Fill:
    """Rows to change in batches: ``UPDATE table SET assignments WHERE predicate``."""

    table: str
    assignments: str
    predicate: str
    without_triggers: bool = False
    """Without firing the table's own triggers: what is filled is Lockstep's own column."""
    columns: tuple[str, ...] = ()
    """The columns that are set, unquoted; where no index has them, rows can stay on their pages."""
    expressions: tuple[str, ...] = ()
    """What each of them is set to, as SQL, where the revision says so."""
    parallel: bool = False
    """Whether several connections may share it; not where it is the revision's own statement."""
    settings: tuple[tuple[str, str], ...] = ()
    """Session settings that the expressions depend on, as they were when the step was planned."""


#: See ``Copy.written``; as it stands it says nothing.
UNFILLED = "/* and not as filled */"

#: That a row of ``source`` lies on the pages of the batch at hand; a batch sets both.
INSIDE = (
    "source.ctid >= current_setting('lockstep.first')::tid "
    "AND source.ctid < current_setting('lockstep.until')::tid"
)


@dataclass(frozen=True)
class Copy:
    """Rows to carry over in batches: ``statement`` for each range of pages of ``table``.

    ``INSIDE`` in it is the condition on the rows of ``source``. ``until_still``: again, until it changes
    nothing, some times.
    """

    table: str
    statement: str
    until_still: bool = False
    without_triggers: bool = False
    """Without firing triggers: what is given back was there before."""
    into: str = ""
    """The table that is written to."""
    one_by_one: str = ""
    """What is run for a batch of which a row cannot be carried over: it leaves that row where it is, and the
    setting ``lockstep.moved`` says how many others went."""
    before: tuple[str, ...] = ()
    """Statements that come first in the transaction of each batch."""
    after: tuple[str, ...] = ()
    """And those that end it."""
    written: str = ""
    """Where only values that people wrote are copied: of which column. ``UNFILLED`` in the statement then
    stands for the condition that a value is not what a fill of the same revision would make of the row."""


@dataclass(frozen=True)
class Step:
    """One step, as data: it is written down before it runs, so that another process can go on with it.

    ``locks`` are taken first, in order, each as (qualified table, lock mode). ``present`` is a query that is
    true when an OUTSIDE step has been done already, ``leftover`` what removes one that was interrupted.
    ``undo`` takes the step back: () where what an earlier step's undo does is enough, None where it cannot be
    taken back; whoever writes a step says which. The steps ``before_undo`` come first: they keep what people
    wrote into what it removes, and can be run again. ``undo_present`` is a query that is true when nothing of
    an OUTSIDE or VALIDATED step is there: it has been taken back, or left nothing. ``offenders`` finds rows
    that make it fail, ``refusal`` says so where PostgreSQL's message would speak of a name that the revision
    does not know. ``journal`` is what the revision's own code sent. ``private``: what it makes is Lockstep's
    own, which nobody has a use for where the operation is not finished. ``shape`` is that of a statement of
    the revision's own.
    """

    description: str
    sql: tuple[str, ...] = ()
    kind: Kind = Kind.BRIEF
    locks: tuple[tuple[str, str], ...] = ()
    present: str | None = None
    leftover: tuple[str, ...] = ()
    undo: tuple[str, ...] | None = field(kw_only=True)
    offenders: str | None = None
    refusal: str | None = None
    fill: Fill | None = None
    copy: Copy | None = None
    undo_present: str | None = None
    before_undo: tuple[Step, ...] = ()
    journal: tuple[dict[str, Any], ...] = ()
    private: bool = False
    shape: str | None = None

    @property
    def does_nothing(self) -> bool:
        """Whether it only says how an earlier state is come back to."""
        return not (self.sql or self.fill or self.copy or self.journal)

    def to_json(self) -> dict[str, Any]:
        data = {
            key: value
            for key, value in asdict(self).items()
            if value not in (None, (), False) or key == "undo"
        }
        if self.before_undo:
            data["before_undo"] = [step.to_json() for step in self.before_undo]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Step:
        known = {_OLD_NAMES.get(name, name): value for name, value in data.items()}
        for name in ("sql", "leftover", "journal"):
            known[name] = tuple(known.get(name, ()))
        known["locks"] = tuple((table, mode) for table, mode in known.get("locks", ()))
        known["undo"] = None if known.get("undo") is None else tuple(known["undo"])
        known["kind"] = Kind(known.get("kind", Kind.BRIEF))
        if known.get("fill"):
            fill = {_OLD_NAMES.get(name, name): value for name, value in known["fill"].items()}
            known["fill"] = Fill(
                **fill
                | {name: tuple(fill.get(name, ())) for name in ("columns", "expressions")}
                | {"settings": tuple((name, value) for name, value in fill.get("settings", ()))}
            )
        if known.get("copy"):
            kept = {_OLD_NAMES.get(name, name): v for name, v in known["copy"].items()}
            known["copy"] = Copy(**kept | {name: tuple(kept.get(name, ())) for name in ("before", "after")})
        known["before_undo"] = tuple(cls.from_json(step) for step in known.get("before_undo", ()))
        return cls(**known)


@dataclass(frozen=True)
class AsWritten:
    """In place of steps: the operation is run as plain Alembic runs it, in one short transaction."""

    undo: tuple[str, ...] | None
    """What takes it back; None: nothing does."""
    locks: tuple[tuple[str, str], ...] = ()
    """Taken first, as a step's."""
