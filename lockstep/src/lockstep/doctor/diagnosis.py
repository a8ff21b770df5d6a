"""A symptom as it is known, and what is found of it in a project."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lockstep.doctor.case import Case


class Cure(NamedTuple):
    """What was found, and what helps."""

    what: str
    cure: str
    """What to type, as it stands: a command, or the code to write at ``where``."""
    where: str = ""
    """Where to write it; "" for a command of the shell."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is found."""

    symptom: str
    what: str
    cure: str
    where: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    def lines(self) -> list[str]:
        """As it is printed: what it is, and below what to type."""
        first = [f"{self.symptom}: {self.what}", f"    {self.where or 'type'}:"]
        return first + [f"        {line}" for line in self.cure.splitlines()]


@dataclass(frozen=True)
class Symptom:
    """A symptom: the errors that it is known by, and the function that looks for its cause.

    The function is given the error where it was met, and None where it is only looked for.
    """

    name: str
    errors: tuple[str, ...]
    look: Callable[[Case, re.Match[str] | None], Iterable[Cure]]

    def found(self, case: Case) -> list[Diagnosis]:
        said = next((m for error in self.errors if (m := re.search(error, case.text))), None)
        return [Diagnosis(self.name, *one) for one in self.look(case, said)]


def symptom(
    name: str, *errors: str
) -> Callable[[Callable[[Case, re.Match[str] | None], Iterable[Cure]]], Symptom]:
    """A symptom of that name; ``errors`` are patterns of what Alembic, Python or PostgreSQL say of it."""

    def made(look: Callable[[Case, re.Match[str] | None], Iterable[Cure]]) -> Symptom:
        return Symptom(name, errors, look)

    return made
