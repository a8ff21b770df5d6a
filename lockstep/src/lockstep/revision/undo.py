"""Taking a half-done revision back, the last step first."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from lockstep.postgres import catalog
from lockstep.postgres.functions import is_volatile
from lockstep.postgres.session import execute, transaction, unhurried
from lockstep.steps.locks import brief
from lockstep.steps.run import run_step
from lockstep.steps.step import UNFILLED, Kind

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from lockstep.revision.ledger import Entry, Ledger, Underway
    from lockstep.steps.pace import Pace
    from lockstep.steps.step import Step

log = logging.getLogger("alembic.lockstep")


#: Every foreign key, as the archive knows what a column refers to.
_FOREIGN_KEYS = """
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'relation', c.oid::bigint, 'numbers', k.conkey, 'key', jsonb_build_object(
        'parent', format('%%I.%%I', pn.nspname, p.relname), 'table', jsonb_build_array(pn.nspname, p.relname),
        'ours', ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, place)
                      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n ORDER BY place),
        'theirs', ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, place)
                        JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = u.n ORDER BY place)))
), '[]')::text
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
"""

_NOTE_PARENTS = """
UPDATE lockstep.archive a SET details = details || jsonb_build_object('parents', (
    SELECT coalesce(jsonb_agg(f -> 'key'), '[]') FROM jsonb_array_elements(%(keys)s::jsonb) f
    WHERE f -> 'relation' = a.details -> 'column' -> 0
      AND f -> 'numbers' @> (a.details -> 'column' -> 1)))
WHERE version_table = %(table)s AND revision = %(revision)s AND kind = 'column' AND NOT details ? 'parents'
RETURNING id
"""


def lasting(underway: Underway) -> list[str]:
    """The operations that cannot be taken back."""
    return [e.says for e in underway.entries if any(step.undo is None for _, step in begun(e))]


def can_undo(underway: Underway) -> bool:
    """Whether every step that was done, or may have been begun, can be taken back."""
    return all(step.undo is not None for entry in underway.entries for _, step in begun(entry))


def did_nothing(underway: Underway) -> bool:
    """Whether a revision that stopped is as if it had not begun."""
    return not underway.entries or (
        underway.direction == "upgrade"
        and all(entry.finished and not any(map(_leaves, entry.steps)) for entry in underway.entries)
    )


def _leaves(step: Step) -> bool:
    """Whether there is something of a step that is done, if only the time that a VACUUM took."""
    return step.undo != () or bool(step.before_undo) or step.kind is Kind.UNKNOWN


def begun(entry: Entry) -> list[tuple[int, Step]]:
    """The steps of an operation that may have left something, the last one first."""
    found = list(enumerate(entry.steps[: entry.done]))
    following = entry.steps[entry.done : entry.done + 1]
    if following and following[0].kind in {Kind.OUTSIDE, Kind.VALIDATED, Kind.FILL, Kind.COPY}:
        found.append((entry.done, following[0]))
    return list(reversed(found))


def private(entry: Entry) -> list[tuple[int, Step]]:
    """The steps that were begun last of an operation that is not finished, while all that they made is
    Lockstep's own (the shadow of a column, say), the last one first.
    """
    if entry.finished:
        return []
    return list(takewhile(lambda found: found[1].private, begun(entry)))


def take_private_back(connection: Connection, pace: Pace, ledger: Ledger, underway: Underway) -> None:
    """Take back what is Lockstep's own of a half-done revision; can be stopped and called again."""
    for entry in sorted(underway.entries, key=lambda e: -e.position):
        for number, step in private(entry):
            _undo_step(connection, pace, ledger, underway, entry, step, number)


def undo(connection: Connection, pace: Pace, ledger: Ledger, underway: Underway) -> None:
    """Take a half-done revision back, the last operation first; can be stopped and called again.

    Its foreign keys go before the columns do that are kept: what these refer to is looked up at the start.
    """
    keys = catalog.scalar(connection, _FOREIGN_KEYS)
    for entry in sorted(underway.entries, key=lambda e: -e.position):
        for number, step in begun(entry):
            _undo_step(connection, pace, ledger, underway, entry, step, number)
        log.info("%s: taken back", entry.says)
    with transaction(connection):
        here = {"table": ledger.version_table, "revision": underway.revision}
        catalog.rows(connection, _NOTE_PARENTS, keys=keys, **here)
        ledger.finish(connection, underway.revision)


def _but_as_filled(connection: Connection, step: Step, underway: Underway) -> Step:
    """The copy of what people wrote into a column, without what fills of the revision put there: a corrected
    file may fill it otherwise. What is another value each time nobody can tell from theirs.
    """
    if step.copy is None or not step.copy.written:
        return step
    column, table = step.copy.written, step.copy.table
    fills = [one.fill for entry in underway.entries for one in entry.steps if one.fill]
    conditions = [
        f" AND source.{catalog.quote(column)}::text IS DISTINCT FROM ({expression})::text"
        for fill in fills
        if fill.table == table
        for name, expression in zip(fill.columns, fill.expressions, strict=False)
        if name == column and not is_volatile(connection, expression)
    ]
    statement = step.copy.statement.replace(UNFILLED, "".join(conditions))
    return replace(step, copy=replace(step.copy, statement=statement))


def _nothing_to_record() -> None:
    """What can be run again from the start need not be written down."""


def _undo_step(
    connection: Connection,
    pace: Pace,
    ledger: Ledger,
    underway: Underway,
    entry: Entry,
    step: Step,
    number: int,
) -> None:
    statements = step.undo or ()
    for first in step.before_undo:
        kept = _but_as_filled(connection, first, underway)
        run_step(connection, pace, kept, kept.description, _nothing_to_record, again=True)

    def record() -> None:
        ledger.write(connection, underway, entry, number)

    if step.kind is Kind.OUTSIDE:
        with unhurried(connection):
            if not (step.undo_present and catalog.scalar(connection, step.undo_present)):
                for statement in statements:
                    execute(connection, statement)
        with transaction(connection):
            record()
        return

    def work() -> None:
        for statement in statements:
            execute(connection, statement)
        record()

    locks = step.locks if statements else ()
    brief(connection, pace, f"taking back: {step.description}", work, locks=locks)
