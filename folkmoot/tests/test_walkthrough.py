"""The documents whose commands are run: what they show is what was printed.

Run as a module, this writes the outputs anew.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import httpx
import pytest

from folkmoot.postgres import sharing
from folkmoot.settings import load
from running import PROGRAM, ask, environment, free_port
from testing.cluster import memory

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "walkthrough.md"]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "~end of output~"
#: What differs from run to run, and what is shown for it.
_UNIFORM = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00|\+00)?"), "2026-01-01T12:00:00Z"),
    (re.compile(r"eyJ[\w.-]+"), "eyJ…"),
    (re.compile(r'("refresh_token": ?)"[^"]+"'), r'\1"…"'),
    (re.compile(r"\b[0-9a-f]{12}(?=_nothing_new)"), "1f0e2d3c4b5a"),
    (re.compile(r" +$", re.MULTILINE), ""),
)


class Terminal:
    """A shell in a fresh copy of the project, with nothing exported but the port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copy(ROOT / "alembic.ini", folder)
        shutil.copytree(
            ROOT / "folkmoot" / "src",
            folder / "folkmoot" / "src",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        self._port = free_port()
        self._services: list[subprocess.Popen[bytes]] = []
        self._shell = subprocess.Popen(
            ["bash"], cwd=folder, env=self._environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return environment(PORT=str(self._port), WORKERS="1", PAGER="cat")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for service in self._services:
            service.send_signal(signal.SIGINT)
            service.wait(30)
        self._shell.communicate()

    def run(self, command: str) -> str:
        if command in {"folkmoot serve", "make run"}:
            return self._serve()
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(command.replace(":8000", f":{self._port}") + f"\necho\necho '{_END}'\n")
        self._shell.stdin.flush()
        lines = iter(self._shell.stdout.readline, f"{_END}\n")
        output = "".join(lines).replace(f"{self._folder}/", "").replace(f":{self._port}", ":8000")
        for pattern, shown in _UNIFORM:
            output = pattern.sub(shown, output)
        return output.strip("\n")

    def _serve(self) -> str:
        log = self._folder / "serve.log"
        with log.open("w") as output:
            self._services.append(
                subprocess.Popen(
                    [str(PROGRAM), "serve"], cwd=self._folder, env=self._environment(),
                    stdout=output, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                ask(f"http://127.0.0.1:{self._port}/readyz").raise_for_status()
            except httpx.HTTPError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
                continue
            said = [line for line in log.read_text().splitlines() if line.startswith("Folkmoot")]
            return "\n".join(said).replace(f":{self._port}", ":8000")


def rerun(text: str) -> str:
    """The document with its outputs as they are now."""
    folder = Path(tempfile.mkdtemp(prefix="folkmoot-test-", dir=memory()))
    # The commands share one server: starting and stopping it each time would take most of the test.
    settings = load(folkmoot_data_dir=folder / ".data")
    try:
        with sharing.running(settings), Terminal(folder) as terminal:

            def again(block: re.Match[str]) -> str:
                commands = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
                shown = [f"$ {command}\n{terminal.run(command)}".rstrip("\n") for command in commands]
                return "```console\n" + "\n".join(shown) + "\n```"

            return _BLOCK.sub(again, text)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_shows_what_its_commands_print(document: Path) -> None:
    text = document.read_text()
    assert "Traceback" not in text
    assert rerun(text) == text, "if the change is meant, run: make docs"


if __name__ == "__main__":
    for each in DOCUMENTS:
        each.write_text(rerun(each.read_text()))
