"""Fixtures for every test: PostgreSQL servers (18 from the wheel, 15 where installed) and databases."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from testing.cluster import Cluster, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter


#: Of how many tests on PostgreSQL 15 `make test` runs one.
_OF = 8


def pytest_configure() -> None:
    """What is a sample changes each day; the test processes have the same one."""
    os.environ.setdefault("LOCKSTEP_SEED", time.strftime("%Y-%m-%d", time.gmtime()))


def pytest_report_header() -> str:
    """How to repeat a run."""
    return f"LOCKSTEP_SEED={os.environ['LOCKSTEP_SEED']}: one in {_OF} of the tests on PostgreSQL 15"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most tests that run on both versions to `make prove` on the older one, others each day; of those
    marked with ``one_in`` all but one in so many.
    """
    for item in items:
        versions = getattr(item, "callspec", None)
        of = _OF if versions is not None and versions.params.get("cluster") == 15 else 1
        of *= next((marker.args[0] for marker in item.iter_markers("one_in")), 1)
        if crc32(f"{os.environ['LOCKSTEP_SEED']} {item.nodeid}".encode()) % of:
            item.add_marker(pytest.mark.prove)


def pytest_collection_finish() -> None:
    """From now on keep nothing of what is compiled: a test may change a file twice in a second, and Python
    would take the older one for it.
    """
    sys.dont_write_bytecode = True


@pytest.fixture(scope="session")
def cluster18() -> Iterator[Cluster]:
    cluster = Cluster(18)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def cluster15() -> Iterator[Cluster]:
    if programs(15) is None:
        pytest.skip("PostgreSQL 15 is not installed: what needs it was not tested")
    cluster = Cluster(15)
    yield cluster
    cluster.remove()


@pytest.fixture(params=[18, 15], ids=["pg18", "pg15"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each PostgreSQL version in turn."""
    found: Cluster = request.getfixturevalue(f"cluster{request.param}")
    return found


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The name of an empty database on ``cluster``, dropped afterwards."""
    name = cluster.create_database()
    yield name
    cluster.drop_database(name)


def _told(terminalreporter: TerminalReporter, wanted: str) -> list[Any]:
    """What tests have put down with ``record_property`` under a name."""
    return [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == wanted
    ]


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Tell at how many points migrations were struck, how many changes of type were compared, and what came
    of it.
    """
    _tell_comparisons(terminalreporter)
    killed = _told(terminalreporter, "killed")
    if not killed:
        return
    points: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    terminalreporter.section("kill points")
    for case, victim, number, failed in sorted(killed):
        terminalreporter.write_line(f"{case}: {victim} struck at {number} points, {failed} wrong")
        points[victim] += number
        wrong[victim] += failed
    for victim, number in points.items():
        terminalreporter.write_line(
            f"all operations: {victim} struck at {number} points, {wrong[victim]} wrong"
        )


def _tell_comparisons(terminalreporter: TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for told in _told(terminalreporter, "compared"):
        refusals.update(told["refusals"])
        counts.update({name: number for name, number in told.items() if name != "refusals"})
    if counts:
        terminalreporter.section("changes of type, plain Alembic and Lockstep")
        terminalreporter.write_line(", ".join(f"{number} {name}" for name, number in counts.items()))
        for reason, number in refusals.most_common():
            terminalreporter.write_line(f"refused by Lockstep alone, {number} times: {reason}")
