"""What the measurements of online.py say: the bars they are held against, and docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.load import CLIENTS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

#: The most that a statement of a client may take during a change, in seconds.
STALL = 0.05

_DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Result:
    """One change, run one way. Times in seconds."""

    took: float
    stall: float
    stalled: str
    """The statement that took longest, and how long after the start of the change it began."""
    failed: Counter[str]
    retried: int
    statements: int
    error: str | None = None


@dataclass(frozen=True)
class Scale:
    posts: int
    votes: int
    users: int


@dataclass(frozen=True)
class Row:
    change: str
    plain: Result | None
    lockstep: Result
    held: bool

    def misses(self) -> list[str]:
        """Which of the bars this row misses."""
        missed = []
        if self.lockstep.error:
            missed.append(f"failed: {self.lockstep.error}")
        if self.lockstep.failed:
            missed.append(f"failed statements: {dict(self.lockstep.failed)}")
        if self.lockstep.stall > STALL:
            missed.append(f"stall {self.lockstep.stall * 1000:.0f} ms > {STALL * 1000:.0f} ms")
        if self.plain and not self.plain.error and not self.held:
            allowed = 2 * self.plain.took if self.plain.took >= 1 else self.plain.took + 1
            if self.lockstep.took > allowed:
                missed.append(f"{self.lockstep.took:.1f} s > {allowed:.1f} s")
        return missed

    def cells(self) -> list[str]:
        p, s = self.plain, self.lockstep
        return [
            self.change,
            "-" if p is None else "fails" if p.error else f"{p.took:.1f} s",
            f"{s.took:.1f} s",
            "-" if p is None else duration(p.stall),
            duration(s.stall),
            "-" if p is None else str(p.failed.total()),
            f"{s.failed.total()}" + (f" ({s.retried} retried)" if s.retried else ""),
        ]


HEADINGS = ["change", "plain: time", "Lockstep: time", "plain: stall", "Lockstep: stall",
            "plain: failed", "Lockstep: failed"]  # fmt: skip


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _table(rows: list[Row]) -> str:
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(
    rows: list[Row],
    alone: Result,
    scale: Scale,
    version: str,
    *,
    think: float,
    settings: Sequence[str],
    held_for: float,
) -> str:
    """The section of docs/benchmarks.md. ``think`` and ``held_for`` in seconds."""
    free, held = [r for r in rows if not r.held], [r for r in rows if r.held]
    rate = alone.statements / alone.took
    text = (
        f"`make bench-online`: {scale.posts:,} posts, {scale.votes:,} votes, {scale.users:,} users; "
        f"{CLIENTS} clients, each a process, {think * 1000:g} ms apart on average "
        f"(together {rate:.0f} statements/s when nothing else happens), reading and writing both tables. "
        f"PostgreSQL {version}, {os.cpu_count()} CPUs ({platform.machine()}), with "
        + ", ".join(f"`{setting}`" for setting in settings)
        + ". Each change starts on a copy of its own of the same rows.\n\n"
        "*Stall* is the longest statement of any client during the change, as the client saw it; nothing is "
        f"subtracted. The clients alone, for {alone.took:.0f} s: longest statement "
        f'{duration(alone.stall)}. *Failed* counts statements that ended in an error; after "cached plan '
        'must not change result type" a client prepares anew and retries once (*retried*), as '
        "[lockstep/docs/operations.md](../lockstep/docs/operations.md) explains.\n\n" + _table(free)
    )
    if held:
        text += (
            f"\n\nWith a transaction of somebody else's open on both tables for the first {held_for:.0f} s, "
            "which has read posts and written votes:\n\n" + _table(held)
        )
    return text


_TITLE = "## Schema changes on tables in use"


def write_section(text: str, title: str = _TITLE) -> None:
    """Put the section in its place in docs/benchmarks.md, or at its end; other sections stay."""
    _DOCUMENT.parent.mkdir(exist_ok=True)
    document = _DOCUMENT.read_text() if _DOCUMENT.exists() else "# Benchmarks\n"
    whole = f"{title}\n\n{text}\n"
    found = re.compile(rf"^{re.escape(title)}$.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if found.search(document):
        document = found.sub(lambda _: whole + "\n", document).rstrip() + "\n"
    else:
        document = document.rstrip() + "\n\n" + whole
    _DOCUMENT.write_text(document)
