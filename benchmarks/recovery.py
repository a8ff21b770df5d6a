"""Migrations that are killed and taken back while people use the tables: `make prove-service`.

`killed`: Folkmoot serves HTTP requests while a migrator counts comments and takes the numbers away again, and
is killed (SIGKILL) at random; by that revision alone, since the program needs what came after it. `comments`:
the revisions that bring comments, down and up and again, with a bar of 50 ms for the client. `back`:
head → base → head beside a client that reads and writes, with checksums of every table before and after.
`changed`: the same with people, posts, votes and comments added and deleted at the low revisions. Exits with
1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from alembic import command

from benchmarks import http_load
from benchmarks.http_load import Request
from benchmarks.recovered import MEANWHILE, SETTINGS, Run
from benchmarks.site import COUNTED
from benchmarks.stalls import client
from folkmoot.people.tokens import Tokens
from folkmoot.postgres import revisions
from test_comment_revisions import BEFORE, counting_alone
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "recovery" * 5
_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).parent.parent


def alembic(*arguments: str) -> subprocess.Popen[str]:
    """The `alembic` command, as people run it."""
    return subprocess.Popen(
        [str(_BIN / "alembic"), *arguments],
        cwd=_ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


# -- killed at random -----------------------------------------------------------------------------------


@contextmanager
def served(url: str) -> Iterator[str]:
    """The program's workers, without the command that insists on head first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            str(_BIN / "granian"), "--interface", "asgi", "--factory", "--no-ws", "--workers", "2",
            "--port", str(port), "--log-level", "warning", "folkmoot.commands.serve:worker",
        ],
        env={**os.environ, **COUNTED, "DATABASE_URL": url, "SECRET_KEY": SECRET, "LOG_LEVEL": "warning"},
        cwd=_ROOT, start_new_session=True, stdout=sys.stderr,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(OSError):
                urlopen(base + "/healthz", timeout=5).close()
                break
        yield base
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def requests(run: Run) -> list[Request]:
    """What people do: read lists, posts and comments, vote, take votes back, write and comment."""
    tokens, random, made = Tokens(SECRET, timedelta(hours=2)), Random(1), []
    for user in range(1, min(run.users, 1000) + 1):
        token = tokens.write(user, user)
        public = [10 * random.randrange(run.posts // 10) + random.randint(1, 9) for _ in range(3)]
        made += [
            Request("/posts", token),
            Request(f"/posts/{public[0]}", token),
            Request(f"/posts/{public[1]}/vote", token, "PUT"),
            Request(f"/posts/{public[2]}/vote", token, "DELETE"),
            Request(f"/posts/{public[0]}/comments", token),
            Request(f"/posts/{public[0]}/comments", token, "POST", '{"content":"c"}'),
            Request(f"/posts/{public[1]}/comments/{2 * public[1]}/vote", token, "PUT"),
            Request(f"/posts/{public[2]}/comments/{2 * public[2]}/vote", token, "DELETE"),
            Request("/posts", token, "POST", '{"title":"t","content":"c"}'),
        ]
    random.shuffle(made)
    return made


def killed(run: Run, seconds: float, folder: Path) -> None:
    """Kill and restart the migrator for so long, under load."""
    run.fill()
    counting_alone(folder, run.cluster.url(run.database, "psycopg"))
    project = folder / "alembic.ini"
    project.write_text(f"[alembic]\nscript_location = {folder}\npath_separator = os\n")
    random = Random(2)
    kills = finished = 0
    targets = ["downgrade", "base"], ["upgrade", "head"]
    with served(run.url) as base:
        # As long as the migrator may still need at the end, too.
        load = http_load.start(base, requests(run), connections=8, seconds=seconds)
        began = time.monotonic()
        while (left := began + seconds - 5 - time.monotonic()) > 0:
            migrator = alembic("-c", str(project), *targets[0])
            try:
                _, said = migrator.communicate(timeout=min(random.uniform(0.5, 6), left))
            except subprocess.TimeoutExpired:
                migrator.kill()
                migrator.communicate()
                kills += 1
                if random.random() < 0.2:  # now and then somebody changes their mind half way
                    targets = targets[::-1]
                continue
            if migrator.returncode:
                run.bar(f"the migrator failed: {said[-300:]}", kept=False)
                break
            finished += 1
            targets = targets[::-1]
        result = http_load.finish(load)
        last = alembic("-c", str(project), "upgrade", "head")
        _, said = last.communicate()
        run.bar(
            f"the last upgrade ends: {said[-300:] if last.returncode else 'yes'}", kept=last.returncode == 0
        )
    print(f"{kills} kills, {finished} runs that ended, p99 {result.p99:.0f} ms", flush=True)
    run.bar(f"{result.requests} requests, {result.failed} failed", kept=result.failed == 0)
    run.counts_are_exact()


# -- there and back -------------------------------------------------------------------------------------


def _go(run: Run, direction: str, revision: str, most: float = 0.1) -> None:
    began = time.monotonic()
    with client(run, f"{direction} to {revision}", most=most):
        _, said = (done := alembic(direction, revision)).communicate()
    run.bar(f"{direction} to {revision} in {time.monotonic() - began:.1f} s", kept=done.returncode == 0)
    if done.returncode:
        raise SystemExit(said)


def back(run: Run, *, meanwhile: bool) -> None:
    """Down to base and up again; with ``meanwhile`` rows are added and deleted on the way."""
    before = run.checksums()
    for revision, statements in MEANWHILE.items():
        if meanwhile:
            _go(run, "downgrade", revision)
            with run.connect() as connection:
                connection.execute(statements.encode())
        elif revision == "c47ecbf163d4":
            _go(run, "downgrade", revision)
            keep_votes(run)
    _go(run, "downgrade", "base")
    _go(run, "upgrade", "head")
    _same(run, before)


def comments_come(run: Run) -> None:
    """The revisions that bring comments: down first, since there are some; then up, down and up again."""
    before = run.checksums()
    with client(run, "nobody migrates for 10 s", most=0.05):
        time.sleep(10)
    for direction, revision in (("downgrade", BEFORE), ("upgrade", "head")) * 2:
        _go(run, direction, revision, most=0.05)
    _same(run, before)


def _same(run: Run, before: dict[str, tuple[Any, ...]]) -> None:
    after = run.checksums()
    for table, found in before.items():
        run.bar(f"{table}: {found} before, {after[table]} after", kept=after[table] == found)
    run.counts_are_exact()


def keep_votes(run: Run) -> None:
    """The downgrade that drops the votes table alone: how long it takes to keep it."""
    _go(run, "downgrade", "036aa392dfb0")
    with client(run, "keep the votes table"):
        began = time.monotonic()
        command.downgrade(revisions.config(), "036d0a4565b7")
        took = time.monotonic() - began
    run.bar(f"the votes table is kept in {took:.2f} s", kept=took < 1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help="killed, comments, back, changed; all by default"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1: back with 1,000,000 posts, 10,000,000 votes"
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long the migrator is killed and restarted"
    )
    options = parser.parse_args(arguments)
    parts = options.parts or ["killed", "comments", "back", "changed"]
    cluster = Cluster(18, SETTINGS)
    posts, votes = int(1_000_000 * options.scale), int(10_000_000 * options.scale)
    large = Run(cluster, posts, votes, max(posts // 10, 1000))
    small = Run(cluster, posts // 10, votes // 10, max(posts // 50, 1000))
    try:
        if "killed" in parts:
            with TemporaryDirectory() as folder:
                killed(small, options.seconds, Path(folder))
        if "comments" in parts:
            small.fill()
            comments_come(small)
        if "back" in parts or "changed" in parts:
            large.fill()
        if "back" in parts:
            back(large, meanwhile=False)
        if "changed" in parts:
            back(large, meanwhile=True)
    finally:
        cluster.remove()
    return 1 if small.missed or large.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
