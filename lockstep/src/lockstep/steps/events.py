"""What a migration does, as events: for a function of the program's, and as JSON lines in a file.

Each is a dictionary with ``event`` and ``at`` (ISO 8601, UTC), and what belongs to it:

- ``step_started``, ``step_finished``: ``operation``, ``step``; ``seconds``
- ``step_failed``: ``operation``, ``step``, ``seconds``, ``error`` (its first line)
- ``progress``: ``operation``, ``phase``, ``done``, ``total``, ``seconds_left`` (None: not known yet)
- ``waiting``: ``step``, ``pid``, ``user``, ``state``, ``seconds``
- ``paused``: ``reason``; ``resumed``
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lockstep.errors import LockstepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Event = dict[str, Any]
    Receiver = Callable[[Event], object]

log = logging.getLogger("alembic.lockstep")

_receivers: list[Receiver] = []


def emit(event: str, **data: Any) -> None:
    """Tell whoever listens. A receiver that raises is told to the log; the migration goes on."""
    if not _receivers:
        return
    whole = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **data}
    for receiver in tuple(_receivers):
        try:
            receiver(whole)
        except Exception as error:  # noqa: BLE001 - whatever the program's own function raises
            log.warning("the receiver of events failed at %s: %s", event, error)


def _write_line(file: TextIO, event: Event) -> None:
    file.write(json.dumps(event) + "\n")


@contextmanager
def received_by(*receivers: Receiver | str | Path | None) -> Iterator[None]:
    """Send the events of the block to functions, and to files as JSON lines that are appended.

    Raises LockstepError where a file cannot be written.
    """
    files = []
    added: list[Receiver] = []
    try:
        for receiver in receivers:
            if receiver is None:
                continue
            if isinstance(receiver, str | Path):
                try:
                    file = Path(receiver).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed below
                except OSError as error:
                    raise LockstepError(f"events: cannot write {receiver}: {error.strerror}") from None
                files.append(file)
                added.append(partial(_write_line, file))
            else:
                added.append(receiver)
        _receivers.extend(added)
        yield
    finally:
        for receiver in added:
            if receiver in _receivers:
                _receivers.remove(receiver)
        for file in files:
            file.close()
