"""Parts of `make bench`: logins, and who reads meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import http_load as load
from benchmarks.http_load import Request
from benchmarks.measuring import Run, check
from benchmarks.site import CONNECTIONS, PASSWORD

if TYPE_CHECKING:
    from benchmarks.report import Part


def storm(run: Run, part: Part) -> None:
    """The feed while as many people log in as the machine takes: some always wait for their turn."""
    site, base = run.usual
    feed = [Request("/posts")]
    form = f"&password={PASSWORD.replace(' ', '+')}"
    logins = [Request("/login", method="POST", body=f"username={email}{form}") for email in site.emails]
    alone = load.run(base, logins, connections=32, seconds=run.options.seconds, warm_up=False)
    part.head(
        "The feed during a storm of logins, 32 connections", "readers",
        "feed's p99 idle, ms", "in the storm, ms", "ratio", "at most", "logins/s", "reads/s",
    )  # fmt: skip
    for readers in (1, 4, CONNECTIONS) if run.options.thorough else (4,):
        idle, busy, stormed = [], [], []
        for _ in range(run.options.rounds):
            idle.append(run.load(base, feed, readers))
            background = load.start(base, logins, connections=32, seconds=run.options.seconds + 2)
            time.sleep(0.5)
            busy.append(run.load(base, feed, readers))
            stormed.append(load.finish(background))
        for result in stormed:
            if result.failed:
                part.fail(f"{result.failed} of {result.requests} logins failed")
        before, after = (median(result.p99 for result in results) for results in (idle, busy))
        part.row(
            str(readers), f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}", "6",
            f"{median(r.per_second for r in stormed):.0f}", f"{median(r.per_second for r in busy):.0f}",
        )  # fmt: skip
    part.say(f"\nWithout readers: {alone.per_second:.0f} logins/s.")
    part.head(
        "One login after another beside two busy processes", "logins", "median, ms", "p99, ms", "at most"
    )
    busy_processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        # The first second is not counted: who left the storm above is still served, before whoever comes now.
        beside = load.run(base, logins, connections=1, seconds=3 * run.options.seconds)
    finally:
        for process in busy_processes:
            process.kill()
            process.wait()
    check(part, "logins beside busy processes", beside)
    part.row(f"{beside.requests}", f"{beside.p50:.0f}", f"{beside.p99:.0f}", "500")
