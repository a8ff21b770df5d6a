"""What a failure says, in one line each, to who ran a command and reads the end of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterator


def one_line(error: BaseException) -> str:
    """A driver's error without its hints and positions, any other error's first line."""
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    return lines[0] if lines else type(original).__name__


def explained(error: DBAPIError) -> str:
    """What PostgreSQL says of a statement that failed, the statement's beginning, and what was found out of
    the rows that stand in its way (the error's notes).
    """
    return " ".join(part for part in _parts(error) if part)


def _parts(error: DBAPIError) -> Iterator[str]:
    diagnosis = getattr(error.orig, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    yield _sentence(primary or one_line(error))
    yield _sentence(getattr(diagnosis, "message_detail", None) or "")
    yield _sentence(getattr(diagnosis, "message_hint", None) or "")
    if error.statement:
        statement = " ".join(error.statement.split())
        yield f"In: {statement[:150]}{'…' if len(statement) > 150 else ''}"
    for note in getattr(error, "__notes__", ()):
        yield f"\n{note}"


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."
