"""Adding a constraint in a moment and validating it while everybody goes on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres import catalog
from lockstep.postgres.session import execute, transaction, unhurried
from lockstep.steps.locks import brief, watch
from lockstep.steps.step import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace
    from lockstep.steps.step import Step


def refuse_taken_names(connection: Connection, steps: Sequence[Step]) -> None:
    """Raise where a constraint has the name already that one of the steps is to give.

    Before the steps are written down: whoever takes them back after a stop would take that constraint for
    what they had added.
    """
    for step in steps:
        names = step.undo_present if step.kind is Kind.VALIDATED else None
        if names and not catalog.scalar(connection, names):
            raise LockstepError(f"{step.description}: there is a constraint of that name already")


def add_validated(
    connection: Connection,
    pace: Pace,
    step: Step,
    record: Callable[[], None],
    began: Callable[[], None],
    *,
    again: bool,
) -> None:
    """Run a VALIDATED step; ``began`` is called when the constraint is added, ``record`` in the transaction
    that validates.

    A constraint that is NOT VALID refuses new rows, and every UPDATE of those that break it. So where the
    validation fails it is dropped before the error is raised: the service can write what it could before.
    """
    add, *validate = step.sql

    def adding() -> None:
        if again:
            for statement in step.leftover:
                execute(connection, statement)
        execute(connection, add)

    def dropping() -> None:
        for statement in step.leftover:
            execute(connection, statement)

    brief(connection, pace, step.description, adding, locks=step.locks)
    began()
    try:
        with unhurried(connection), watch(connection, step.description, pace), transaction(connection):
            for statement in validate:
                execute(connection, statement)
            record()
    except Exception:
        with suppress(DBAPIError, LockstepError):
            brief(
                connection,
                pace,
                f"{step.description}: not valid, so it goes again",
                dropping,
                locks=step.locks,
            )
        raise
