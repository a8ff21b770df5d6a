"""The ``folkmoot`` command as a process, for tests: started in a folder, waited for, stopped or killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from types import TracebackType

PROGRAM = Path(sys.executable).with_name("folkmoot")
#: One for all that ask again and again: making it reads the certificates of the world.
_CLIENT = httpx.Client(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**settings: str) -> dict[str, str]:
    """What a newcomer has exported: nothing of ours, but for what is passed."""
    return {"PATH": f"{PROGRAM.parent}:{os.defpath}", "HOME": str(Path.home()), **settings}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *arguments], cwd=folder, env=environment(**settings),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def ask(url: str) -> httpx.Response:
    """GET over a connection of its own."""
    return _CLIENT.get(url, headers={"Connection": "close"})


class Service:
    """``folkmoot serve`` in a folder; ready once /readyz says so."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.folder, self.settings = folder, settings
        self.port = int(settings.get("PORT", free_port()))
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = (folder / f"serve-{self.port}").open("w+")
        self.process = subprocess.Popen(
            [str(PROGRAM), "serve", *arguments],
            cwd=folder,
            env=environment(**{"PORT": str(self.port), "WORKERS": "1", **settings}),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.wait_until(200, seconds=60)
        except BaseException:
            self.kill()
            self._output.close()
            raise

    def wait_until(self, status: int, path: str = "/readyz", *, seconds: float = 20) -> httpx.Response:
        """Ask again until the service answers with this status."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                response = ask(self.url + path)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code == status:
                return response
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = f"{response.status_code} {response.text}" if response else "no answer"
                raise AssertionError(f"wanted {status}, got {said}\n{self.output()}")
            time.sleep(0.02)

    def wait_for_line(self, text: str, *, times: int = 1, seconds: float = 20) -> None:
        """Wait until the service has said this so many times."""
        deadline = time.monotonic() + seconds
        while self.output().count(text) < times:
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def output(self) -> str:
        return Path(self._output.name).read_text()

    def interrupt(self) -> int:
        """Ctrl-C: the signal goes to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL for the command and its workers; not for the database, which has a session of its own."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.interrupt()
        self._output.close()
