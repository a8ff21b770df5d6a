"""How large tables are taken to be, where a plan is rehearsed on tables that have no rows."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_assumed: ContextVar[Mapping[int, int] | None] = ContextVar("lockstep_sizes", default=None)


@contextmanager
def assumed(sizes: Mapping[int, int]) -> Iterator[None]:
    """Take the tables with these oids to be as large, in bytes without their indexes."""
    token = _assumed.set(sizes)
    try:
        yield
    finally:
        _assumed.reset(token)


def assumed_size(oid: int) -> int | None:
    """How large that table is taken to be; None where it is to be asked."""
    sizes = _assumed.get()
    return None if sizes is None else sizes.get(oid)


def are_assumed() -> bool:
    """Whether any are."""
    return _assumed.get() is not None
