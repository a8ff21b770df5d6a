"""A plan in one file of HTML, as SARIF, and with estimates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from command_line import revision
from databases import database18
from plan_project import on_rows, planned
from snapshot_project import lockstep
from test_plan import SCHEMA, assert_is_as

if TYPE_CHECKING:
    from pathlib import Path

    from testing.cluster import Cluster

database = database18()


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    """One with an index to come, and a check."""
    on_rows(tmp_path, cluster18, database)
    revision(tmp_path, "r1", "op.create_index('posts_code', 'posts', ['code'])", "first")
    revision(tmp_path, "r2", "op.create_check_constraint('positive', 'posts', 'id > 0')", "r1")
    return tmp_path


def test_html_is_one_file_with_what_the_terminal_shows(project: Path) -> None:
    status, _, _ = lockstep(project, "plan", "--html", "plan.html")
    text = (project / "plan.html").read_text()
    assert status == 1
    assert text.startswith("<!DOCTYPE html>")
    assert "scans-under-lock" in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_sarif_names_the_file_and_the_line_of_each_hazard(project: Path) -> None:
    lockstep(project, "plan", "--sarif", "plan.sarif", "--allow", "scans-under-lock")
    (run,) = json.loads((project / "plan.sarif").read_text())["runs"]
    results = [r for r in run["results"] if r["ruleId"] == "scans-under-lock"]
    assert [r["level"] for r in results] == ["note", "note"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "migrations/versions/r1.py"
    line = place["region"]["startLine"]
    assert (project / place["artifactLocation"]["uri"]).read_text().splitlines()[line - 1] == "def upgrade():"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} >= {"scans-under-lock"}


def test_a_file_that_cannot_be_written_is_one_line(project: Path) -> None:
    status, _, said = lockstep(project, "plan", "--html", "nowhere/plan.html")
    assert (status, said) == (2, "lockstep: nowhere/plan.html cannot be written: No such file or directory")


def test_estimates_are_told_where_they_are_asked_for(project: Path) -> None:
    status, plan = planned(project, "--estimate")
    assert status == 1
    assert_is_as(plan, SCHEMA, SCHEMA)
    found = {one["revision"]: one for one in plan["estimates"]}
    assert (found["r2"]["work"], found["r2"]["table"], found["r2"]["rows"]) == ("validation", "posts", 3000)
    low, high = found["r2"]["seconds"]
    assert 0 < low < high < 10
    assert planned(project)[1]["estimates"] == []
    _, lines, _ = lockstep(project, "plan", "--estimate")
    assert any(line.startswith("estimated: revision r2: validation of posts (3,000 rows)") for line in lines)
