"""What `make bench-online` calls a miss."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.online_report import Result, Row


def result(*, stall: float = 0.05, error: str | None = None, failed: int = 0) -> Result:
    return Result(1.0, stall, "vote at 0.1 s", Counter({"57014": failed} if failed else {}), 0, 100, error)


@pytest.mark.parametrize("held", [False, True])
def test_a_stall_of_more_than_50_ms_is_a_miss(held: bool) -> None:  # noqa: FBT001  # a parameter of pytest's
    assert Row("check", None, result(), held).misses() == []
    assert Row("check", None, result(stall=0.051), held).misses() == ["stall 51 ms > 50 ms"]


def test_a_statement_that_failed_and_a_change_that_failed_are_misses() -> None:
    assert Row("check", None, result(failed=1), held=False).misses() == ["failed statements: {'57014': 1}"]
    assert Row("check", None, result(error="no"), held=False).misses() == ["failed: no"]
