"""The page of the doctor names every symptom, and every error by which one is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lockstep.doctor.symptoms import SYMPTOMS

if TYPE_CHECKING:
    from lockstep.doctor.diagnosis import Symptom

PAGE = Path(__file__).parents[1] / "docs" / "doctor.md"
ROWS = {
    found[1]: found[0]
    for found in re.finditer(r"^\| `([\w-]+)` \|.*$", PAGE.read_text(), re.MULTILINE)
}  # fmt: skip


def test_the_table_has_a_row_for_each_symptom_and_no_other() -> None:
    assert list(ROWS) == [symptom.name for symptom in SYMPTOMS]


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=lambda symptom: symptom.name)
def test_a_symptom_is_found_on_the_page_by_each_of_its_errors(symptom: Symptom) -> None:
    assert [error for error in symptom.errors if not re.search(error, ROWS[symptom.name])] == []
