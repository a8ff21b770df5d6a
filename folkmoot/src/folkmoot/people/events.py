"""What the log tells about accounts and sessions: one line an event, with ids and never with a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from fastapi import Request

_log = structlog.stdlib.get_logger("folkmoot")
#: What somebody should look at: it may be an attack.
_SUSPICIOUS = frozenset({"login_limited", "limited", "refresh_reused"})


def note(
    event: str,
    request: Request,
    *,
    account_id: int | None = None,
    session_id: int | None = None,
    **more: str | int,
) -> None:
    """Log an event: who (as far as it is known), from where, and under which request's id."""
    tell = _log.warning if event in _SUSPICIOUS else _log.info
    client = request.client.host if request.client else None
    tell(event, account_id=account_id, session_id=session_id, client=client, **more)
