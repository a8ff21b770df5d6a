"""Structured logs: one line an event, JSON unless a person watches, the request's id on every line."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def _to_json(event: Any, **_options: Any) -> str:
    # A lone surrogate (from a path, say) cannot be encoded; a log line must not fail for it.
    return msgspec.json.encode(_printable(event), enc_hook=repr).decode()


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {str(key): _printable(item) for key, item in value.items()}
    return value


class _Stderr:
    """Writes to whatever is stderr at the time, line by line."""

    def __init__(self, *_: object) -> None:
        self.msg = self.log = self.debug = self.info = self.warning = self.error = self.critical = self._write

    @staticmethod
    def _write(line: str) -> None:
        sys.stderr.write(line + "\n")


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _Stderr._write(self.format(record))  # noqa: SLF001 - the two are one


def configure(level: str = "info") -> None:
    """Set up structlog, and the standard library's loggers (of libraries) to look the same, on stderr."""
    threshold = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
