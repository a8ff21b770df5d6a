"""docs/security.md: every test that it names exists, and every requirement stands once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
ROWS = re.findall(
    r"^\| ([0-9]+\.[0-9]+\.[0-9]+) \| (met|partly|not met) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE
)
TESTS = {name: path.read_text() for path in Path(__file__).parent.glob("test_*.py") for name in [path.stem]}


def test_every_requirement_stands_once() -> None:
    numbers = [number for number, _, _ in ROWS]
    assert len(numbers) > 80
    assert len(numbers) == len(set(numbers))
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])


@pytest.mark.parametrize(("number", "state", "why"), ROWS)
def test_what_is_met_names_tests_that_exist_or_where_it_is_written(number: str, state: str, why: str) -> None:
    named = re.findall(r"`(test_[a-z_0-9]+)::(test_[a-z_0-9]+)`", why)
    for module, test in named:
        assert f"def {test}(" in TESTS[module], (number, module, test)
    linked = re.findall(r"\]\(([a-z/.-]+\.md)\)", why)
    for document in linked:
        assert (DOCUMENT.parent / document).exists(), (number, document)
    if state == "met":
        assert named or linked, number
