"""The checks in pytest, and the scripts of pipelines."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs

import pytest

from command_line import revision
from databases import database18
from snapshot_project import lockstep, three_revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

CI = Path(__file__).parents[1] / "ci"

database = database18()


@pytest.fixture
def project(tmp_path: Path, cluster18: Cluster, database: str) -> Path:
    return three_revisions(tmp_path, cluster18.url(database, "psycopg"))


def run_pytest(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(project), *arguments],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.one_in(3)
def test_pytest_runs_the_checks_where_it_is_asked_to(project: Path) -> None:
    (project / "test_nothing.py").write_text("def test_nothing(): pass\n")
    lockstep(project, "snapshot")
    assert "1 passed" in run_pytest(project)
    assert "5 passed" in run_pytest(project, "--lockstep")


@pytest.mark.one_in(3)
def test_pytest_says_what_is_wrong(project: Path) -> None:
    lockstep(project, "snapshot")
    (project / "pytest.ini").write_text("[pytest]\nlockstep = true\nlockstep_config = alembic.ini\n")
    revision(project, "d", "op.create_table('tags', sa.Column('id', sa.Integer()))", "a")
    said = run_pytest(project)
    assert "3 failed" in said
    assert "2 heads (c, d): `lockstep rebase`, or `alembic merge heads`" in said
    assert "migrations/snapshots/d.txt is missing: `lockstep snapshot` writes it" in said
    assert "revision d is irreversible: its downgrade leaves all as it is" in said


def script_of(file: str, name: str) -> str:
    """The part of a pipeline's file that plans and comments, as the runner gives it to a shell."""
    lines = (CI / file).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if "status=0" in line)
    indent = len(lines[start]) - len(lines[start].lstrip())
    assert name in (CI / file).read_text()
    return "\n".join(line[indent:] for line in lines[start:])


def in_bash(script: str, project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    programs = f"{project}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": programs, "TARGET": "head", "OPTIONS": "", **environment},
    )  # fmt: skip


@pytest.mark.one_in(3)
def test_the_action_keeps_one_comment(project: Path) -> None:
    (project / "bin").mkdir()
    gh = project / "bin" / "gh"
    gh.write_text('#!/bin/sh\necho "$@" >> said\n')
    gh.chmod(0o755)
    done = in_bash(script_of("action.yml", "composite"), project, PULL_REQUEST="7")
    assert done.returncode == 0, done.stderr
    said = (project / "said").read_text()
    assert said == "pr comment 7 --edit-last --create-if-none --body-file plan.md\n"
    assert "posts" in (project / "plan.md").read_text()


class GitLab(http.server.BaseHTTPRequestHandler):
    """Notes of a merge request, as GitLab's API keeps them."""

    notes: ClassVar[dict[int, str]] = {}

    def _answer(self, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> str:
        return parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["body"][0]

    def do_GET(self) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "token"
        self._answer([{"id": key, "body": body} for key, body in self.notes.items()])

    def do_POST(self) -> None:
        self.notes[len(self.notes) + 1] = self._body()
        self._answer({})

    def do_PUT(self) -> None:
        self.notes[int(self.path.rpartition("/")[2])] = self._body()
        self._answer({})

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest's output is enough."""


@pytest.fixture
def gitlab() -> Iterator[str]:
    GitLab.notes = {1: "somebody's own"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitLab) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/v4"
        server.shutdown()


@pytest.mark.one_in(3)
def test_the_template_keeps_one_note(project: Path, gitlab: str) -> None:
    script = script_of("gitlab.yml", "merge_request")
    known = {
        "CI_API_V4_URL": gitlab,
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "4",
        "LOCKSTEP_TOKEN": "token",
    }
    for _ in range(2):
        done = in_bash(script, project, **known)
        assert done.returncode == 0, done.stderr
    assert sorted(GitLab.notes) == [1, 2]
    assert GitLab.notes[2].startswith("<!-- lockstep plan -->")
    assert "posts" in GitLab.notes[2]
