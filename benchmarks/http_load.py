"""Load on an HTTP server: wrk where it is installed (Debian's package of that name), else pyload.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = """
local requests, n = {}, 0
for line in io.lines(os.getenv("REQUESTS")) do
  local method, path, token, body = line:match("^(%S+) (%S+) (%S+) ?(.*)$")
  local headers = {Host = os.getenv("AUTHORITY")}
  if token:find("=") then headers["Cookie"] = token
  elseif token ~= "-" then headers["Authorization"] = "Bearer " .. token end
  if body ~= "" then
    local json = body:sub(1, 1) == "{"
    headers["Content-Type"] = json and "application/json" or "application/x-www-form-urlencoded"
  end
  requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
end
-- Looking at each answer costs something, so it is done only where some are expected.
local expected, thread = {}, nil
answered = 0
for status in os.getenv("EXPECTED"):gmatch("%d+") do expected[tonumber(status)] = true end
if next(expected) then
  function response(status) if expected[status] then answered = answered + 1 end end
end
function setup(one) thread = one end
function request() n = n % #requests + 1 return requests[n] end
function done(summary, latency)
  local e, answered = summary.errors, thread:get("answered")
  io.write(string.format(
    '\\nRESULT {"seconds": %f, "requests": %d, "p50": %f, "p99": %f, "failed": %d, "expected": %d}\\n',
    summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout - answered, answered))
end
"""


@dataclass(frozen=True)
class Request:
    path: str
    #: An access token, or a cookie as name=value.
    token: str = "-"
    method: str = "GET"
    body: str = ""

    def line(self) -> str:
        return f"{self.method} {self.path} {self.token} {self.body}".rstrip()


@dataclass(frozen=True)
class Result:
    """Times in milliseconds. ``failed`` counts connections that broke, and answers that are neither 2xx nor
    3xx nor ``expected``.
    """

    seconds: float
    requests: int
    p50: float
    p99: float
    failed: int
    expected: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def generator() -> str:
    """Which load generator is used."""
    return "wrk" if shutil.which("wrk") else "a loop in Python (install wrk for less noise)"


def start(
    base: str,
    requests: Sequence[Request],
    *,
    connections: int,
    seconds: float,
    expected: Sequence[int] = (),
) -> subprocess.Popen[str]:
    """Send the requests in turn, over and over, each connection waiting for its answers. Statuses of 400 and
    above that are right are ``expected``.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".requests", delete=False) as file:
        file.write("\n".join(request.line() for request in requests) + "\n")
    environment = {
        **os.environ,
        "REQUESTS": file.name,
        "AUTHORITY": urlsplit(base).netloc,
        "EXPECTED": " ".join(map(str, expected)),
    }
    if shutil.which("wrk"):
        script = Path(file.name + ".lua")
        script.write_text(_SCRIPT)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s"]
        command += ["--timeout", "30s", "-s", str(script), base]
    else:
        command = [
            sys.executable,
            str(Path(__file__).parent / "pyload.py"),
            base,
            str(connections),
            str(seconds),
        ]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Result:
    output, _ = process.communicate()
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return Result(**json.loads(line.removeprefix("RESULT ")))
    raise RuntimeError(f"the load generator failed: {output}")


def run(
    base: str, requests: Sequence[Request], *, connections: int = 16, seconds: float = 4, warm_up: bool = True
) -> Result:
    """Warm up for a second, then measure."""
    if warm_up:
        finish(start(base, requests, connections=connections, seconds=1))
    return finish(start(base, requests, connections=connections, seconds=seconds))
