"""What a command does first when it finds a revision half done: go on with it, or take it back."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationStep
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from lockstep import private_names
from lockstep.errors import CannotContinueError, LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, transaction, unhurried
from lockstep.steps.locks import brief, take_locks
from lockstep.steps.run import run_step
from lockstep.steps.step import UNFILLED, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from lockstep.revision.ledger import Entry, Underway
    from lockstep.revision.migrator import Migrator
    from lockstep.steps.step import Step

    Asked = Callable[[Any, Any], Iterable[Any]]

log = logging.getLogger("alembic.lockstep")


def plan(
    migrator: Migrator, context: MigrationContext, heads: tuple[str, ...], asked: Asked
) -> Iterator[Any]:
    """The revisions that a command runs, those first that a half-done one makes necessary.

    An upgrade goes on with a half-done upgrade; a half-done downgrade it finishes first. A downgrade takes a
    half-done upgrade back; where a step of it cannot be taken back (a drop, data that was changed), it
    finishes the upgrade and then goes down by the revision's own ``downgrade()``. What is half done on a
    branch that the command has nothing to do with stays as it is.

    Raises LockstepError for a stamp over a half-done revision, CannotContinueError where a file is missing.
    """
    command = getattr(asked, "__name__", "")
    script = context.script
    half_done = migrator.half_done()
    if not half_done or script is None or command not in {"upgrade", "downgrade", "do_stamp"}:
        yield from asked(heads, context)
        return
    for underway in half_done:
        if not _concerns(underway, script, heads, context, asked):
            continue
        if command == "do_stamp":
            raise LockstepError(
                f"the {underway.direction} of revision {underway.revision} is half done, and a stamp would "
                "change nothing about that: `alembic upgrade` goes on with it, `alembic downgrade` takes it "
                "back, `lockstep abandon` forgets it and leaves the database as it is; then stamp"
            )
        if command == underway.direction == "upgrade":
            _refuse_without_file(script, underway)
            continue  # its revision is among those that the command runs
        if command == underway.direction:
            if not _is_first(underway, script, heads, context, asked):
                yield _step(script, underway)
        elif command == "upgrade":
            log.info("the downgrade of revision %s is half done: finishing it first", underway.revision)
            yield _step(script, underway)
        elif can_undo(underway):
            log.info("revision %s is half done: taking it back", underway.revision)
            _end_reading(migrator)
            with migrator.outside():
                undo(migrator, underway)
            migrator.settled(underway.revision)
            if (asked := _the_rest(script, context, asked)) is _NOTHING_LEFT:
                return
        else:
            log.info(
                "revision %s is half done and cannot be taken back (%s cannot): finishing it first",
                underway.revision,
                ", ".join(_lasting(underway)),
            )
            yield _step(script, underway)
    yield from asked(context.get_current_heads(), context)


def _concerns(
    underway: Underway,
    script: ScriptDirectory,
    heads: tuple[str, ...],
    context: MigrationContext,
    asked: Asked,
) -> bool:
    """Whether a command has to do with the half-done revision: it is on the same line of the history."""
    try:
        line = {found.revision for found in script.iterate_revisions(underway.revision, "base")}
        after = {found.revision for found in script.walk_revisions(underway.revision, "heads")}
    except (RevisionError, CommandError):
        return True  # its file is not here
    related = line | after
    try:
        concerned = {str(one.revision.revision) for one in asked(heads, context)}
        target = context.opts.get("destination_rev")
        concerned |= {str(getattr(found, "revision", None)) for found in script.get_revisions(target or ())}
    except (RevisionError, CommandError, AttributeError):
        return True
    return not concerned or bool(concerned & related)


def _end_reading(migrator: Migrator) -> None:
    if migrator.connection.in_transaction():
        migrator.connection.commit()


def _refuse_without_file(script: ScriptDirectory, underway: Underway) -> None:
    if underway.revision not in {found.revision for found in script.walk_revisions()}:
        raise CannotContinueError(
            f"the {underway.direction} of revision {underway.revision} is half done, and its file is not "
            "here. Put it back, or take back what was done with `alembic downgrade`, or forget it with "
            "`lockstep abandon`"
        )


def _is_first(
    underway: Underway,
    script: ScriptDirectory,
    heads: tuple[str, ...],
    context: MigrationContext,
    asked: Asked,
) -> bool:
    planned = next(iter(asked(heads, context)), None)
    return getattr(planned, "revision", None) is script.get_revision(underway.revision)


def _step(script: ScriptDirectory, underway: Underway) -> Any:
    _refuse_without_file(script, underway)
    found = script.get_revision(underway.revision)
    if underway.direction == "upgrade":
        return MigrationStep.upgrade_from_script(script.revision_map, found)
    return MigrationStep.downgrade_from_script(script.revision_map, found)


def _nothing_left(_heads: Any, _context: Any) -> list[Any]:
    return []


_NOTHING_LEFT = _nothing_left


def _the_rest(script: ScriptDirectory, context: MigrationContext, asked: Asked) -> Asked:
    """What is left of a downgrade once the half-done revision is taken back: of ``-2``, one more."""
    target = context.opts.get("destination_rev")
    if isinstance(target, str) and target.startswith("-") and target[1:].isdigit():
        left = int(target[1:]) - 1
        if left <= 0:
            return _NOTHING_LEFT
        return lambda heads, _: private_names.downgrade_steps(script, f"-{left}", heads)
    return asked


def _lasting(underway: Underway) -> list[str]:
    """The operations that cannot be taken back."""
    return [e.says for e in underway.entries if any(step.undo is None for _, step in _begun(e))]


def can_undo(underway: Underway) -> bool:
    """Whether every step that was done, or may have been begun, can be taken back."""
    return all(step.undo is not None for entry in underway.entries for _, step in _begun(entry))


def _begun(entry: Entry) -> list[tuple[int, Step]]:
    """The steps of an operation that may have left something, the last one first."""
    begun = list(enumerate(entry.steps[: entry.done]))
    following = entry.steps[entry.done : entry.done + 1]
    if following and following[0].kind in {Kind.OUTSIDE, Kind.VALIDATED, Kind.FILL, Kind.COPY}:
        begun.append((entry.done, following[0]))
    return list(reversed(begun))


def undo(migrator: Migrator, underway: Underway) -> None:
    """Take a half-done revision back, the last operation first; can be stopped and called again."""
    for entry in sorted(underway.entries, key=lambda e: -e.position):
        for number, step in _begun(entry):
            _undo_step(migrator, underway, entry, step, number)
        log.info("%s: taken back", entry.says)
    with transaction(migrator.connection):
        migrator.ledger.finish(migrator.connection, underway.revision)


def _but_as_filled(step: Step, underway: Underway) -> Step:
    """The copy of what people wrote into a column, without what fills of the revision put there: a corrected
    file may fill it otherwise.
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
        if name == column
    ]
    statement = step.copy.statement.replace(UNFILLED, "".join(conditions))
    return replace(step, copy=replace(step.copy, statement=statement))


def _nothing_to_record() -> None:
    """What can be run again from the start need not be written down."""


def _undo_step(migrator: Migrator, underway: Underway, entry: Entry, step: Step, number: int) -> None:
    connection = migrator.connection
    statements = step.undo or ()
    for first in step.before_undo:
        kept = _but_as_filled(first, underway)
        run_step(connection, migrator.pace, kept, kept.description, _nothing_to_record, again=True)

    def record() -> None:
        migrator.ledger.write(connection, underway, entry, number)

    if step.kind is Kind.OUTSIDE:
        with unhurried(connection):
            if not (step.undo_present and catalog.scalar(connection, step.undo_present)):
                for statement in statements:
                    execute(connection, statement)
        with transaction(connection):
            record()
        return

    def work(budget: float) -> None:
        if statements:
            take_locks(connection, step.locks, budget)
        for statement in statements:
            execute(connection, statement)
        record()

    brief(connection, migrator.pace, f"taking back: {step.description}", work)
