"""What is other in one snapshot than in another, and the statement that would make it the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lockstep.snapshot.statements import creation, remedy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lockstep.snapshot.text import Snapshot


@dataclass(frozen=True)
class Difference:
    """One thing that two catalogs do not have alike."""

    object: str
    part: str
    """Empty where it is the object itself."""
    expected: str | None
    """The value that it should have; None where it should not be there."""
    found: str | None
    """The value that it has; None where it is not there."""
    statement: str | None
    """SQL that makes the database what is expected; None where it takes more than a statement."""

    def __str__(self) -> str:
        what = f"{self.object}: {self.part}" if self.part else self.object
        if self.found is None:
            said = f"{what} is missing" + (f": {_short(self.expected)}" if self.expected else "")
        elif self.expected is None:
            said = f"{what} is not expected" + (f": {_short(self.found)}" if self.found else "")
        else:
            here, there = _apart(self.found, self.expected)
            said = f"{what} is {here} and should be {there}"
        return said

    def as_change(self) -> str:
        """It in words, where ``found`` is the older of two and ``expected`` the newer."""
        what = f"{self.object}: {self.part}" if self.part else self.object
        if self.found is None:
            return f"+ {what}  {_short(self.expected)}".rstrip()
        if self.expected is None:
            return f"- {what}  {_short(self.found)}".rstrip()
        here, there = _apart(self.found, self.expected)
        return f"~ {what}  {here} → {there}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def differences(found: Snapshot, expected: Snapshot) -> list[Difference]:
    """What is other in ``found`` than it is ``expected``, by object and part."""
    return list(_differences(found, expected))


def _differences(found: Snapshot, expected: Snapshot) -> Iterator[Difference]:
    for name in sorted({*found.objects, *expected.objects}):
        here, there = found.objects.get(name), expected.objects.get(name)
        if here is None and there is not None:
            yield Difference(name, "", _told(there), None, creation(name, there))
        elif there is None and here is not None:
            yield Difference(name, "", None, _told(here), remedy(name, "", None, "", {}))
        else:
            here, there = here or {}, there or {}
            for part in sorted({*here, *there}):
                if here.get(part) != there.get(part):
                    fix = remedy(name, part, there.get(part), here.get(part), there)
                    yield Difference(name, part, there.get(part), here.get(part), fix)


def _told(parts: Mapping[str, str]) -> str:
    """An object in a few words: its columns, or its values."""
    columns = [part.removeprefix("column ") for part in parts if part.startswith("column ")]
    return ", ".join(columns) or parts.get("values", "")


def _short(text: str | None) -> str:
    """The first line of a value, and whether there is more."""
    first, *more = (text or "").split("\n")
    return first + (" …" if more else "")


def _apart(found: str, expected: str) -> tuple[str, str]:
    """Both values, each from the first line on which they differ."""
    here, there = found.split("\n"), expected.split("\n")
    at = next(
        (n for n, (one, other) in enumerate(zip(here, there, strict=False)) if one != other),
        min(len(here), len(there)),
    )
    told = [lines[at].strip() if at < len(lines) else "at its end" for lines in (here, there)]
    where = f"line {at + 1}: " if max(len(here), len(there)) > 1 else ""
    return where + repr(told[0]), repr(told[1])
