"""How fast Folkmoot serves, as ratios from one run: `make bench`, or `make bench SHORT=1`.

Every number is measured on a server and a database of this run's own; the load generator, two workers and
PostgreSQL share the machine. The share of the limit of a route is its requests/s over the limit, where
1/limit = 1/(requests/s of a no-op authenticated route) + 1/(transactions/s of `pgbench -M prepared` on the
SQL that the route runs, over as many connections). Of a page the no-op route makes the same HTML, of rows
that it has read before. Each part writes its tables into docs/benchmarks.md,
unless the run is short. Exits with 1 where a request or a part fails or, when not short, a figure misses its
bound.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks import http_load as load
from benchmarks.hostile import hostile
from benchmarks.http_load import Request
from benchmarks.logins import storm
from benchmarks.measuring import FULL, SHORT, Options, Run
from benchmarks.reading import growth, pages, search, shares, twin
from benchmarks.report import Part
from benchmarks.searches import searches
from benchmarks.site import COMMON, CONNECTIONS, WORKERS, amounts

if TYPE_CHECKING:
    from collections.abc import Callable


def memory(run: Run, part: Part) -> None:
    """The workers' resident memory while requests of every kind come in."""
    site, base = run.usual
    kinds = ("/posts", "/posts?sort=top", "/posts?sort=hot", "/posts/1", f"/posts?q={COMMON}", "/nowhere")
    requests = [Request(path, token) for token in site.tokens[:200] for path in kinds]
    part.head(
        "Memory of the two workers", "after requests", "resident, MiB", "against the first line", "at most"
    )
    first, done = 0.0, 0
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        while done < run.options.requests * share:
            done += load.finish(
                load.start(base, requests, connections=CONNECTIONS, seconds=run.options.seconds)
            ).requests
        sizes = site.memory(base)
        first = first or sum(sizes)
        part.row(
            f"{done:,}", " + ".join(f"{size:.1f}" for size in sizes), f"{sum(sizes) / first:.3f}", "1.05"
        )


PARTS: dict[str, Callable[[Run, Part], None]] = {
    "shares": shares, "twin": twin, "pages": pages, "search": search, "storm": storm, "memory": memory,
    "growth": growth, "searches": searches, "hostile": hostile,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small and quick: shows that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run: %(default)s")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"--only takes {', '.join(PARTS)}; there is no {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    began = time.monotonic()
    missed: list[str] = []
    failures: list[str] = []
    with ExitStack() as stack:
        run = Run(SHORT if arguments.short else FULL, stack)
        for name in chosen:
            part = Part(name)
            try:
                PARTS[name](run, part)
            except Exception as error:  # noqa: BLE001 - the other parts go on
                traceback.print_exc()
                part.fail(f"ended early: {type(error).__name__}: {error}")
            if not arguments.short:
                part.say(f"\n{_circumstances(run.options)}")
                part.write()
            missed += part.missed
            failures += part.failures
            print(f"[{name}: done {time.monotonic() - began:.0f} s after the start]", flush=True)
    for line in failures:
        print(f"FAILED {line}")
    if not arguments.short:  # which is too short to hold figures against their bounds
        for line in missed:
            print(f"MISSED {line}")
        failures += missed
    return 1 if failures else 0


def _circumstances(options: Options) -> str:
    rows = amounts(options.posts)
    return (
        f"*{datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores for the load generator ({load.generator()}), "
        f"{WORKERS} workers and PostgreSQL 18. Where nothing else is said: {rows.posts:,} posts, "
        f"{rows.votes:,} votes, {rows.users:,} people, {CONNECTIONS} connections.*"
    )


if __name__ == "__main__":
    sys.exit(main())
