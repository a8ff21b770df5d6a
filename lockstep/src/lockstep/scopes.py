"""What a revision can say about a block of its operations."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_plain: ContextVar[bool] = ContextVar("lockstep_plain", default=False)
_derived: ContextVar[bool] = ContextVar("lockstep_derived", default=False)
_firing: ContextVar[bool] = ContextVar("lockstep_firing", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """Run the operations in the block as plain Alembic runs them, in the revision's open transaction.

    For what must be one transaction, or what Lockstep refuses. They lock for as long as they take.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether the code at hand stands in a ``with lockstep.plain():`` block."""
    return _plain.get()


@contextmanager
def derived() -> Iterator[None]:
    """Drop what the block drops without keeping it, in a downgrade too.

    For what can be made again from the rest: counters, search documents, caches.
    """
    token = _derived.set(True)
    try:
        yield
    finally:
        _derived.reset(token)


def is_derived() -> bool:
    """Whether the code at hand stands in a ``with lockstep.derived():`` block."""
    return _derived.get()


@contextmanager
def firing() -> Iterator[None]:
    """Let a change of type, or a volatile default, in the block fire the table's own UPDATE triggers where it
    has to.

    Filling the new column updates every row. Lockstep keeps the table's triggers from firing, for which its
    role needs the right to SET session_replication_role; without it the change is refused, or goes on in this
    block. For triggers that do nothing where no column of the table's own changes.
    """
    token = _firing.set(True)
    try:
        yield
    finally:
        _firing.reset(token)


def is_firing() -> bool:
    """Whether the code at hand stands in a ``with lockstep.firing():`` block."""
    return _firing.get()
