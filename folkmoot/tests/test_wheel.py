"""The wheel: what a user of the package has, without the source tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from running import environment

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_its_migrations_and_works_in_an_empty_folder(tmp_path: Path, folder: Path) -> None:
    for project in ("folkmoot", "lockstep"):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
            cwd=ROOT / project, check=True, capture_output=True,
        )  # fmt: skip
    names: set[str] = set()
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "site")
            names |= set(archive.namelist())
    for source in (ROOT / "folkmoot" / "src", ROOT / "lockstep" / "src"):
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=source, check=False, capture_output=True, text=True
        ).stdout.split()
        assert set(tracked) <= names

    done = subprocess.run(
        [sys.executable, "-c", "import folkmoot.commands.main as c; print(c.__file__); c.main()", "migrate"],
        cwd=folder,
        env=environment(PYTHONPATH=str(tmp_path / "site")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        str(tmp_path / "site" / "folkmoot" / "commands" / "main.py"),
        "The schema is at head.",
    ], done.stderr
    assert [path.name for path in folder.iterdir()] == [".data"]
