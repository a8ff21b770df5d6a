"""What Lockstep raises. Alembic's command line prints such an error as one line, without a traceback."""

from __future__ import annotations

from alembic.util import CommandError


class LockstepError(CommandError):
    """A migration was refused, or could not go on; the message says what would be right."""


class CannotContinueError(LockstepError):
    """A revision that stopped half way cannot be continued safely, and why."""
