"""Safe schema evolution for Alembic and PostgreSQL.

``lockstep.run(url=…, target_metadata=…)`` is what an ``env.py`` calls; ``lockstep.plain()`` opts out for a
block of operations, ``lockstep.derived()`` marks what a downgrade need not keep; ``op.backfill(…)`` fills
columns in batches.
"""

from lockstep.environment.run import run
from lockstep.errors import CannotContinueError, LockstepError
from lockstep.scopes import derived, firing, plain
from lockstep.steps.pace import Pace

__all__ = ["CannotContinueError", "LockstepError", "Pace", "derived", "firing", "plain", "run"]
