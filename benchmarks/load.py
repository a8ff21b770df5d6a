"""Clients that read and write posts and votes while something else happens to their tables."""

from __future__ import annotations

import multiprocessing
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import FeatureNotSupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.synchronize import Event

_PROCESSES = multiprocessing.get_context("spawn")

CLIENTS = 4

#: (name, share, writes, SQL). No client deletes what another is about to refer to: an error is a failure.
STATEMENTS: tuple[tuple[str, int, bool, str], ...] = (
    ("post", 25, False, "SELECT id, title, body, owner_id FROM posts WHERE id = %(post)s"),
    ("feed", 15, False, "SELECT id, title, owner_id FROM posts ORDER BY id DESC LIMIT 20"),
    ("votes", 15, False, "SELECT post_id FROM votes WHERE user_id = %(user)s"),
    (
        "vote", 20, True,
        "INSERT INTO votes (user_id, post_id) VALUES (%(user)s, %(post)s) ON CONFLICT DO NOTHING",
    ),
    ("edit", 15, True, "UPDATE posts SET body = %(text)s WHERE id = %(post)s"),
    (
        "write", 10, True,
        "INSERT INTO posts (title, body, slug, owner_id) "
        "VALUES (%(text)s, %(text)s, gen_random_uuid()::text, %(user)s)",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One statement as its client saw it; times in seconds of the monotonic clock."""

    name: str
    started: float
    took: float
    error: str | None = None
    retried: bool = False


@dataclass
class Load:
    """What the clients saw, once they are done."""

    samples: list[Sample] = field(default_factory=list)

    def between(self, start: float, end: float) -> list[Sample]:
        """The statements that were under way at any time from start to end."""
        return [s for s in self.samples if s.started <= end and s.started + s.took >= start]


def _client(url: str, seed: int, posts: int, users: int, think: float, ready: Pipe, stop: Event) -> None:
    choice = random.Random(seed)
    shares = [share for _, share, _, _ in STATEMENTS]
    samples: list[Sample] = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET application_name = 'client'")
        ready.send(None)
        while not stop.is_set():
            name, _, _, sql = choice.choices(STATEMENTS, shares)[0]
            values = {
                "post": choice.randint(1, posts),
                "user": choice.randint(1, users),
                "text": f"text {choice.random()}",
            }
            samples.append(_measured(connection, name, sql, values))
            time.sleep(think * choice.uniform(0.5, 1.5))
    ready.send(samples)


def _measured(connection: psycopg.Connection[Any], name: str, sql: str, values: dict[str, object]) -> Sample:
    started = time.monotonic()
    error, retried = None, False
    try:
        try:
            connection.execute(sql, values).rowcount  # noqa: B018
        except FeatureNotSupported as cached:
            if "cached plan must not change result type" not in str(cached):
                raise
            # What a client has to do after a column's type changed: prepare anew, once.
            retried = True
            connection.execute("DEALLOCATE ALL")
            connection.execute(sql, values)
    except psycopg.Error as failure:
        error = f"{failure.sqlstate} {str(failure).splitlines()[0]}"
    return Sample(name, started, time.monotonic() - started, error, retried)


@contextmanager
def load(url: str, *, posts: int, users: int, think: float, seed: int = 1) -> Iterator[Load]:
    """Run the clients, each a process of its own, while the block runs; then fill in what they saw.

    ``think``: how long a client waits between two statements, in seconds, on average.
    """
    stop = _PROCESSES.Event()
    seen = Load()
    running = []
    for number in range(CLIENTS):
        ours, theirs = _PROCESSES.Pipe()
        process = _PROCESSES.Process(
            target=_client, args=(url, seed * 1000 + number, posts, users, think, theirs, stop), daemon=True
        )
        process.start()
        theirs.close()  # so that its end is noticed, should it die
        running.append((process, ours))
    try:
        for _, pipe in running:
            pipe.recv()
        yield seen
    finally:
        stop.set()
        for process, pipe in running:
            seen.samples += pipe.recv()
            process.join()
