"""Safe schema evolution for Alembic and PostgreSQL.

``lockstep.run(url=…, target_metadata=…)`` is what an ``env.py`` calls; ``lockstep.plain()`` opts out for a
block of operations, ``lockstep.derived()`` marks what a downgrade need not keep; ``op.backfill(…)`` fills
columns in batches.
"""

from lockstep.blocks import derived, firing, plain
from lockstep.environment import run
from lockstep.errors import CannotContinueError, LockstepError
from lockstep.steps import Pace

__all__ = ["CannotContinueError", "LockstepError", "Pace", "derived", "firing", "plain", "run"]
