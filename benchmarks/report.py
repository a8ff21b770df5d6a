"""Tables that are printed as they come, and kept in docs/benchmarks.md, each part on its own."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_BOUNDS = ("at least", "at most")


class Part:
    """One part of a benchmark: its tables, and what misses its bound or fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.missed: list[str] = []
        self.failures: list[str] = []
        self._title, self._at = "", 0
        self._bound: str | None = None

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def head(self, title: str, *columns: str) -> None:
        """Begin a table. A figure stands before the column of its bound, "at least" or "at most", if any.

        A row without a bound leaves it empty.
        """
        self._bound = next((bound for bound in _BOUNDS if bound in columns), None)
        self._title, self._at = title, columns.index(self._bound) if self._bound else 0
        self.say(f"\n### {title}\n")
        self._cells(*columns)
        self._cells(*("---" for _ in columns))

    def row(self, *cells: str) -> None:
        self._cells(*cells)
        if self._bound and cells[self._at]:
            figure, bound = float(cells[self._at - 1]), float(cells[self._at])
            if figure < bound if self._bound == "at least" else figure > bound:
                self.missed.append(f"{self._title}, {cells[0]}: {figure:g}, {self._bound} {bound:g}")

    def fail(self, reason: str) -> None:
        """Something that must not happen: requests that failed, a part that ended early."""
        self.failures.append(f"{self.name}: {reason}")
        self.say(f"\nFailed: {reason}")

    def _cells(self, *cells: str) -> None:
        self.say("| " + " | ".join(cells) + " |")

    def write(self) -> None:
        """Put the part into the document, in place of its last run."""
        begin, end = f"<!-- serve {self.name}: begin -->", f"<!-- serve {self.name}: end -->"
        section = "\n".join([begin, *self.lines, "", end])
        text = DOCUMENT.read_text()
        if begin in text:
            text = re.sub(f"{begin}.*?{end}", lambda _: section, text, flags=re.DOTALL)
        else:
            text = text.replace("<!-- serve: end -->", f"{section}\n<!-- serve: end -->")
        DOCUMENT.write_text(text)
