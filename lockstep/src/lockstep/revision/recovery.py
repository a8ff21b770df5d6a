"""What a command does first when it finds a revision half done: go on with it, or take it back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationStep
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from lockstep import private_names
from lockstep.errors import CannotContinueError, LockstepError
from lockstep.revision.undo import can_undo, lasting, undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from lockstep.revision.ledger import Underway
    from lockstep.revision.migrator import Migrator

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
            raise _refused_stamp(underway)
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
                undo(migrator.planning.connection, migrator.pace, migrator.ledger, underway)
            migrator.settled(underway.revision)
            if (asked := _the_rest(script, context, asked)) is _NOTHING_LEFT:
                return
        else:
            log.info(
                "revision %s is half done and cannot be taken back (%s cannot): finishing it first",
                underway.revision,
                ", ".join(lasting(underway)),
            )
            yield _step(script, underway)
    yield from asked(context.get_current_heads(), context)


def refuse_purge(context: MigrationContext, half_done: list[Underway]) -> None:
    """Raise for `alembic stamp --purge` where anything is half done, before Alembic empties the table."""
    if context.purge and half_done:
        raise _refused_stamp(half_done[0])


def _refused_stamp(underway: Underway) -> LockstepError:
    return LockstepError(
        f"the {underway.direction} of revision {underway.revision} is half done, and a stamp would "
        "change nothing about that: `alembic upgrade` goes on with it, `alembic downgrade` takes it "
        "back, `lockstep abandon` forgets it and leaves the database as it is; then stamp"
    )


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
    if migrator.planning.connection.in_transaction():
        migrator.planning.connection.commit()


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
