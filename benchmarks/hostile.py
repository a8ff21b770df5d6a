"""A part of `make bench`: people who mean well, beside a thousand clients who do not."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median, quantiles
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.hostile_load import IDLE, REGISTRATIONS, SEARCHES, TRICKLING, UNREAD
from benchmarks.ordinary import LOGINS, READS
from benchmarks.site import PASSWORD, ROOT, Site, amounts

if TYPE_CHECKING:
    from benchmarks.measuring import Run
    from benchmarks.report import Part

# Drafts: 200 of 40,000 characters each.
_LARGE = """
    INSERT INTO posts (title, content, owner_id, published, document)
    SELECT 'draft', repeat('a post of 40,000 characters, too long... ', 975), owner, FALSE, ''
      FROM generate_series(%s::bigint, %s) AS owner CROSS JOIN generate_series(1, 200) AS n
"""
_RANKS = """
    INSERT INTO post_ranks (post_id, owner_id, published, created_at, votes)
    SELECT id, owner_id, published, created_at, 0 FROM posts WHERE title = 'draft'
"""


def hostile(run: Run, part: Part) -> None:
    """What a reader and those who log in wait for, without and beside hostile clients."""
    thorough = run.options.thorough
    site = run.seeded(amounts(10_000 if thorough else 1000), part)
    _make_large(site)
    published = [n for n in range(1, site.amounts.posts) if (n - 1) % 50 != 7]
    usual = {
        "paths": [path for n in published for path in ("/posts", f"/posts/{n}")],
        "emails": site.emails, "password": PASSWORD,
    }  # fmt: skip
    quiet_seconds, seconds = (30, 60) if thorough else (2, 5)
    with TemporaryFile("w+") as log, site.shipped(log) as base:
        address = {"port": urlsplit(base).port}
        quiet = _finish(_start("ordinary", seconds=quiet_seconds, **usual, **address))
        small = site.memory(base)
        tokens = site.tokens[:UNREAD]
        # They come first and stay last.
        attack = _start("hostile_load", seconds=seconds + 2, tokens=tokens, **address)
        beside = _finish(_start("ordinary", seconds=seconds, **usual, **address))
        answers = _finish(attack)
        large = site.memory(base)
        log.seek(0)
        errors = [line for line in log if '"level":"error"' in line]
    part.head(
        f"Beside hostile clients, {seconds} s", "who", "quiet p50, ms", "hostile p50, ms", "ratio",
        "quiet p99, ms", "hostile p99, ms", "ratio", "at most",
    )  # fmt: skip
    onset = seconds // 6  # they all connect at once, and ask for their exports
    for who, name, since, until, bound in (
        ("reader", f"a reader, {READS}/s, the first {onset} s", 0, onset * READS, "10"),
        ("reader", "the reader after that", onset * READS, None, "10"),
        ("logins", f"logins, {LOGINS}/s", 0, None, ""),
    ):
        before, after = _percentiles(quiet[who]["times"]), _percentiles(beside[who]["times"][since:until])
        cells = [(f"{b:.1f}", f"{a:.1f}", f"{a / b:.1f}") for b, a in zip(before, after, strict=True)]
        part.row(name, *cells[0], *cells[1], bound)
    part.head("Who was answered what", "client", "how many", "answers")
    for name, how_many, found in (
        ("reader", f"{READS}/s", beside["reader"]["statuses"]),
        ("logins", f"{LOGINS}/s", beside["logins"]["statuses"]),
        ("idle connections", f"{IDLE:,}", answers["idle"]),
        ("bodies of a byte a second", f"{TRICKLING}", answers["trickle"]),
        ("exports that are not read", f"{UNREAD}", answers["export"]),
        ("registrations", f"{REGISTRATIONS}/s", answers["registration"]),
        ("bad searches", f"{SEARCHES}/s", answers["search"]),
    ):
        part.row(name, how_many, ", ".join(f"{what}: {n:,}" for what, n in sorted(found.items())))
        if wrong := found.get("500", 0):
            part.fail(f"{wrong} answers of status 500 for {name}: {errors[:1]}")
    part.head("Logins beside hostile clients", "tried", "median, ms", "answered 200, %", "at least")
    tried, good = len(beside["logins"]["times"]), beside["logins"]["statuses"].get("200", 0)
    part.row(f"{tried}", f"{median(beside['logins']['times']):.0f}", f"{100 * good / tried:.1f}", "100")
    part.say(
        "\n`folkmoot serve` with its own limits. The hostile clients are one process, not niced, on the "
        "cores of the service and PostgreSQL. Their connections come from a thousand addresses in turn "
        "(127.1.y.z), so that no limit by client stops them, or meets the reader and those who log in, who "
        "come from 127.0.0.1. The reader has one connection; where an answer comes late, the next request "
        "counts from when it was due. Resident memory of the two workers: "
        f"{_sizes(small)} MiB before, "
        f"{_sizes(large)} after; lines of level error in the log: {len(errors)}."
    )


def _make_large(site: Site) -> None:
    """Give some people more than the kernel holds for a client that does not read."""
    with site.connect() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(_LARGE, (site.first_user, site.first_user + UNREAD - 1))
        connection.execute(_RANKS)
        connection.execute("VACUUM (ANALYZE)")


def _start(module: str, **settings: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}"],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings))
    process.stdin.close()
    process.stdin = None  # or it would be closed once more
    return process


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


def _percentiles(times: list[float]) -> tuple[float, float]:
    cuts = quantiles(times, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _sizes(sizes: list[float]) -> str:
    return " + ".join(f"{size:.0f}" for size in sizes)
