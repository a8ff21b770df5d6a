"""Votes under load: contention, deletions, crashes of workers and of PostgreSQL lose and miscount none."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command

from api import SECRET, UNLIMITED_ENVIRONMENT
from benchmarks import http_load
from folkmoot.commands.recount import recount
from folkmoot.people.tokens import Tokens
from folkmoot.postgres import revisions
from testing.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many people vote at once, on how many posts.
PEOPLE, POSTS = 40, 10


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A durable server of the test's own, which it may kill."""
    made = Cluster(18, ("fsync=on", "synchronous_commit=on"))
    yield made
    made.remove()


def _populate(url: str, people: int) -> list[tuple[int, int]]:
    """People with a session each, and some posts; returns people and sessions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (email, password) "
            "SELECT n || '@example.org', '!' FROM generate_series(1, %s) n",
            (people,),
        )
        connection.execute(
            "INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at) "
            "SELECT id, '', '', now() + interval '1 hour' FROM users ORDER BY id"
        )
        connection.execute(
            "INSERT INTO posts (title, content, owner_id) SELECT 't', 'c', 1 FROM generate_series(1, %s)",
            (POSTS,),
        )
        return connection.execute("SELECT user_id, id FROM sessions").fetchall()


@contextmanager
def _served() -> Iterator[tuple[int, int]]:
    """`folkmoot serve` with two workers, in a process group of its own: its port and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "folkmoot"), "serve"],
        env={
            **os.environ,
            **UNLIMITED_ENVIRONMENT,
            "SECRET_KEY": SECRET,
            "PORT": str(port),
            "WORKERS": "2",
            "LOG_LEVEL": "error",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            assert server.poll() is None
        yield port, server.pid
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _answers(port: int) -> bool:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/posts")
            return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.mark.one_in(3)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_no_acknowledged_vote_is_lost_when_workers_and_postgresql_are_killed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url(cluster.create_database())
    monkeypatch.setenv("DATABASE_URL", url)
    command.upgrade(revisions.config(), "head")
    people = _populate(url, PEOPLE)
    tokens = Tokens(SECRET, timedelta(hours=1))
    #: Whether each person's vote on each post stands, by the last answer; None while no answer came.
    acknowledged: dict[tuple[int, int], bool | None] = {}
    stop, enough = Event(), Event()
    counted = [0]

    def vote(port: int, user: int, session: int) -> None:
        headers = {"Authorization": f"Bearer {tokens.write(user, session)}"}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        turn = 0
        while not stop.is_set():
            turn += 1
            post, cast = 1 + (user + turn * 7) % POSTS, turn % 3 != 0
            before = acknowledged.get((user, post), False)
            acknowledged[user, post] = None
            try:
                connection.request("PUT" if cast else "DELETE", f"/posts/{post}/vote", headers=headers)
                status = connection.getresponse()
                status.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if status.status == 204:
                acknowledged[user, post] = cast
                counted[0] += 1
                if counted[0] >= 300:
                    enough.set()
            else:
                assert status.status == 503
                # It may have been done before the connection broke, unless it stood so already.
                acknowledged[user, post] = before if before == cast else None
        connection.close()

    def until_votes_came() -> None:
        counted[0] = 0
        enough.clear()
        assert enough.wait(60)

    with _served() as (port, server):
        threads = [Thread(target=vote, args=(port, *person), daemon=True) for person in people]
        for thread in threads:
            thread.start()
        until_votes_came()
        os.kill(_children(server)[-1], signal.SIGKILL)
        until_votes_came()
        cluster.stop("immediate")
        cluster.start()
        until_votes_came()
        stop.set()
        for thread in threads:
            thread.join(30)
    with psycopg.connect(url, autocommit=True) as connection:
        votes = {(row[0], row[1]) for row in connection.execute("SELECT user_id, post_id FROM votes")}
        lost = {
            pair: cast for pair, cast in acknowledged.items() if cast is not None and cast != (pair in votes)
        }
        assert lost == {}
        assert sum(cast is not None for cast in acknowledged.values()) > PEOPLE
        assert recount(connection, repair=False) == []


@pytest.mark.prove
def test_a_thousand_people_vote_on_ten_posts_while_others_are_deleted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url(cluster.create_database())
    monkeypatch.setenv("DATABASE_URL", url)
    command.upgrade(revisions.config(), "head")
    people = _populate(url, 1200)
    tokens = Tokens(SECRET, timedelta(hours=1))
    random = Random(1)
    requests = [
        http_load.Request(f"/posts/{post}/vote", tokens.write(*person), method)
        for person in people[:1000]
        for post in range(1, POSTS + 1)
        for method in ("PUT", "DELETE", "PUT")
    ]
    random.shuffle(requests)
    with _served() as (port, _), psycopg.connect(url, autocommit=True) as connection:
        load = http_load.start(f"http://127.0.0.1:{port}", requests, connections=200, seconds=15)
        for user, _ in people[1000:]:
            connection.execute("INSERT INTO votes (user_id, post_id) SELECT %s, id FROM posts", (user,))
            connection.execute("DELETE FROM users WHERE id = %s", (user,))
        result = http_load.finish(load)
        print(
            f"{result.requests} votes cast and taken back in {result.seconds:.0f} s, {result.failed} failed"
        )
        assert result.failed == 0
        assert recount(connection, repair=False) == []


@pytest.mark.prove
def test_a_thousand_people_comment_delete_and_vote_while_posts_are_deleted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url(cluster.create_database())
    monkeypatch.setenv("DATABASE_URL", url)
    command.upgrade(revisions.config(), "head")
    people = _populate(url, 1100)
    tokens, random = Tokens(SECRET, timedelta(hours=1)), Random(1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO posts (title, content, owner_id) SELECT 't', 'c', 1 FROM posts")
        # A comment of each person on each post, those on the posts that stay first.
        connection.execute(
            "INSERT INTO comments (post_id, owner_id, content) SELECT p, u, 'said' "
            "FROM generate_series(1, 20) p, generate_series(1, 1100) u ORDER BY p, u"
        )
        requests = []
        for person in people[:1000]:
            token = tokens.write(*person)
            for _ in range(5):
                post = random.randint(1, 20)
                said = f"/posts/{post}/comments"
                one = f"{said}/{(post - 1) * 1100 + random.randint(1, 1100)}"
                mine = f"{said}/{(post - 1) * 1100 + person[0]}"
                answer = f'{{"content":"x","parent_id":{one.rpartition("/")[2]}}}'
                requests += [
                    http_load.Request(said, token, "POST", '{"content":"x"}'),
                    http_load.Request(said, token, "POST", answer),
                    http_load.Request(f"{one}/vote", token, "PUT"),
                    http_load.Request(f"{one}/vote", token, "DELETE"),
                    http_load.Request(mine, token, "DELETE"),
                    http_load.Request(said, token),
                ]
        random.shuffle(requests)
        with _served() as (port, _):
            # What is deleted meanwhile is not found.
            load = http_load.start(
                f"http://127.0.0.1:{port}", requests, connections=100, seconds=15, expected=[404]
            )
            for post in range(11, 21):
                connection.execute("DELETE FROM posts WHERE id = %s", (post,))
            for user, _ in people[1000:]:
                connection.execute("DELETE FROM users WHERE id = %s", (user,))
            result = http_load.finish(load)
            assert _answers(port)
        print(
            f"{result.requests} requests in {result.seconds:.0f} s, {result.expected} for what was deleted, "
            f"{result.failed} failed"
        )
        assert result.failed == 0
        assert result.requests > 1000
        assert 0 < result.expected < result.requests
        assert recount(connection, repair=False) == []
    errors = [line for line in cluster.log().splitlines() if " ERROR: " in line]
    assert [line for line in errors if "violates foreign key" not in line] == []
