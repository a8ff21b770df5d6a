"""``op.execute``: SQL of the revision's own."""

from __future__ import annotations

import hashlib
from typing import Any

from alembic.operations import ops

from lockstep.operations.register import Call, performs
from lockstep.postgres.statements import classify
from lockstep.steps.step import AsWritten


def _name(operation: ops.ExecuteSQLOp) -> str:
    text = " ".join(str(operation.sqltext).split())
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"execute {text[:60]}{'…' if len(text) > 60 else ''} [{digest}]"


@performs(ops.ExecuteSQLOp, _name)
def execute(call: Call[ops.ExecuteSQLOp]) -> Any:
    """What only reads or writes rows may wait for its locks, since nobody waits for it meanwhile."""
    return call.perform(lambda: AsWritten(undo=None), patient=classify(str(call.operation.sqltext)).only_rows)
