"""A statement that cannot run in a transaction, and how long it waits for others."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from lockstep.errors import LockstepError
from lockstep.postgres.session import sqlstate, unhurried
from lockstep.steps.locks import RETRIED, pause, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from lockstep.steps.pace import Pace

log = logging.getLogger("alembic.lockstep")


def run_alone(
    connection: Connection, pace: Pace, description: str, work: Callable[[], Any], *, blocks: bool
) -> Any:
    """Run a statement outside of transactions. With CONCURRENTLY, or without a lock that others queue behind,
    it waits for as long as it takes. ``blocks``: others queue behind it (VACUUM FULL, REINDEX), so it
    waits for ``pace.lock_timeout`` and is tried again, as ``brief`` is.

    Raises LockstepError once ``pace.give_up_after`` is over.
    """
    started = time.monotonic()
    attempt = 0
    while True:
        try:
            limit = pace.lock_timeout if blocks else 0
            with unhurried(connection, lock_timeout=limit), watch(connection, description, pace):
                return work()
        except DBAPIError as error:
            if not blocks or sqlstate(error) not in RETRIED:
                raise
            waited = time.monotonic() - started
            if pace.give_up_after is not None and waited > pace.give_up_after:
                raise LockstepError(
                    f"{description}: gave up after {waited:.1f} s: its locks are taken"
                ) from error
        if attempt == 0:
            log.info("%s: the locks are taken; trying again until they are free", description)
        attempt += 1
        pause(attempt)
