"""Somebody who reads and writes while a schema changes, and what the longest of their waits is made of."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.synchronize import Event

    from benchmarks.recovered import Run

_PROCESSES = multiprocessing.get_context("spawn")
STATEMENTS = (
    "SELECT id, title FROM posts WHERE id = %(post)s",
    "UPDATE posts SET id = id WHERE id = %(post)s",
    "SELECT post_id FROM votes WHERE user_id = %(user)s",
    "UPDATE votes SET post_id = post_id WHERE user_id = %(user)s AND post_id = %(post)s",
    "UPDATE users SET email = email WHERE id = %(user)s",
    "SELECT id, content FROM comments WHERE post_id = %(post)s",
    "UPDATE comments SET parent_id = parent_id WHERE post_id = %(post)s",
    "UPDATE comment_votes SET comment_id = comment_id WHERE user_id = %(user)s",
)
#: A table or column that the revision does not have.
_ABSENT = (errors.UndefinedTable, errors.UndefinedColumn)
_NAME = "somebody"
#: What they wait for, where they have waited for more than 20 ms, and behind which statement.
_WAITS = f"""
    SELECT coalesce(a.wait_event_type || '.' || a.wait_event, 'nothing') || coalesce(' behind ' || (
           SELECT left(regexp_replace(b.query, '\\s+', ' ', 'g'), 100) FROM pg_stat_activity AS b
            WHERE b.pid = ANY (pg_blocking_pids(a.pid)) LIMIT 1), '')
      FROM pg_stat_activity AS a
     WHERE a.application_name = '{_NAME}' AND a.state = 'active'
       AND clock_timestamp() - a.query_start > interval '20 ms'
"""


def _waited_for_a_processor(*processes: int) -> float:
    """How long they were ready and had no processor, in seconds."""
    return sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[1]) for each in processes) / 1e9


def _client(url: str, size: dict[str, int], pipe: Pipe, stop: Event) -> None:
    random, worst, failures = Random(3), (0.0, 0.0, ""), []
    with psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name=_NAME) as connection:
        both = os.getpid(), connection.info.backend_pid
        pipe.send(None)
        while not stop.is_set():
            statement = random.choice(STATEMENTS)
            values = {"post": random.randint(1, size["posts"]), "user": random.randint(1, size["users"])}
            waited, began = _waited_for_a_processor(*both), time.monotonic()
            try:
                connection.execute(statement, values)
            except _ABSENT:
                pass
            except psycopg.Error as error:
                failures.append(str(error).splitlines()[0])
            took = time.monotonic() - began
            worst = max(worst, (took, _waited_for_a_processor(*both) - waited, statement))
            time.sleep(0.005)
    pipe.send((worst, failures))


def _watch(run: Run, ended: Flag, seen: Counter[str]) -> None:
    with run.connect() as connection:
        while not ended.wait(0.01):
            seen.update(row[0] for row in connection.execute(_WAITS.encode()))


@contextmanager
def client(run: Run, what: str, *, most: float = 0.1) -> Iterator[None]:
    """Somebody who reads and writes while the block runs; says how long they waited at most, and for what.

    Nothing is subtracted from that for the bar of ``most`` seconds: not what waited for a processor, either.
    """
    ours, theirs = _PROCESSES.Pipe()
    stop, ended, seen = _PROCESSES.Event(), Flag(), Counter[str]()
    process = _PROCESSES.Process(target=_client, args=(run.url, run.size, theirs, stop), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    watching = Thread(target=_watch, args=(run, ended, seen))
    watching.start()
    try:
        yield
    finally:
        stop.set()
        (stall, waited, statement), failures = ours.recv()
        process.join()
        ended.set()
        with suppress(RuntimeError):
            watching.join()
    run.bar(
        f"{what}: longest stall {stall * 1000:.0f} ms, {waited * 1000:.0f} of them without a processor, load "
        f"{os.getloadavg()[0]:.1f} ({statement}); seen in waits of more than 20 ms: {dict(seen)}",
        kept=stall <= most,
    )
    run.bar(f"{what}: {len(failures)} statements failed {failures[:1]}", kept=not failures)
