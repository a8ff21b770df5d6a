"""The revisions that bring comments run while people read, write, comment and vote, up, down and up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Event
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
from alembic import command
from alembic.config import Config

from api import SECRET, UNLIMITED_ENVIRONMENT
from benchmarks import http_load
from folkmoot.commands.recount import recount
from folkmoot.people.tokens import Tokens
from folkmoot.postgres import revisions
from running import ask, free_port
from test_widening import ROWS, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.cluster import Cluster

#: The revision before the comments, the one that adds them, and the one that counts them.
BEFORE, ADDED, COUNTED = "e4a81c6d97f2", "e41b7f0c9a26", "07d3c5a18e94"
#: A comment on each post, with its id.
SAID = "INSERT INTO comments (post_id, owner_id, content) SELECT id, owner_id, 'said' FROM posts ORDER BY id"


@contextmanager
def served(url: str) -> Iterator[str]:
    """The program's workers, without the command that insists on head first."""
    port = free_port()
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("granian")), "--interface", "asgi", "--factory", "--no-ws",
            "--port", str(port), "folkmoot.commands.serve:worker",
        ],
        env={
            **os.environ, **UNLIMITED_ENVIRONMENT,
            "DATABASE_URL": url, "SECRET_KEY": SECRET, "LOG_LEVEL": "error",
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None
            try:
                ask(base + "/healthz")
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                break
        yield base
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def requests(people: list[tuple[int, int]], posts: int) -> list[http_load.Request]:
    """What people do: read lists, posts and threads, vote and take it back, write, comment and answer."""
    tokens, random, made = Tokens(SECRET, timedelta(hours=1)), Random(1), []
    for user, session in people:
        token = tokens.write(user, session)
        post = random.randint(1, posts)
        made += [
            http_load.Request("/posts", token),
            http_load.Request(f"/posts/{post}", token),
            http_load.Request(f"/posts/{post}/vote", token, "PUT"),
            http_load.Request(f"/posts/{random.randint(1, posts)}/vote", token, "DELETE"),
            http_load.Request("/posts", token, "POST", '{"title":"t","content":"c"}'),
            http_load.Request(f"/posts/{post}/comments", token),
            http_load.Request(f"/posts/{post}/comments", token, "POST", '{"content":"c"}'),
            http_load.Request(
                f"/posts/{post}/comments", token, "POST", f'{{"content":"c","parent_id":{post}}}'
            ),
            http_load.Request(f"/posts/{post}/comments/{post}/vote", token, "PUT"),
            http_load.Request(f"/posts/{post}/comments/{post}/vote", token, "DELETE"),
        ]
    random.shuffle(made)
    return made


def _meanwhile(go_on: Callable[[Event], int], migrate: Callable[[], None]) -> int:
    """Migrate while something goes on, which is told when to end."""
    migrated = Event()
    with ThreadPoolExecutor(1) as executor:
        going = executor.submit(go_on, migrated)
        try:
            migrate()
        finally:
            migrated.set()
        return going.result()


def counting_alone(folder: Path, url: str) -> Config:
    """A project of the revision that counts comments, for today's program: it needs what came after it."""
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(f"import lockstep\n\nlockstep.run(url={url!r}, version_table='alone')\n")
    written = revisions.scripts().get_revision(COUNTED).path
    alone = Path(written).read_text().replace(f'down_revision = "{ADDED}"', "down_revision = None")
    (folder / "versions" / "count.py").write_text(alone)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    command.stamp(config, "head")
    return config


@pytest.mark.one_in(2)
def test_people_comment_while_comments_are_counted_and_while_the_numbers_go_and_come_back(
    cluster18: Cluster, migrated: str, tmp_path: Path
) -> None:
    database = cluster18.create_database(template=migrated)
    url = cluster18.url(database)
    config = counting_alone(tmp_path, cluster18.url(database, "psycopg"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ROWS)
        connection.execute(SAID)
        people = connection.execute("SELECT user_id, id FROM sessions").fetchall()
        with served(url) as base:

            def ask_on(ended: Event) -> int:
                asked = 0
                while not ended.is_set():
                    load = http_load.start(base, requests(people, 2000), connections=2, seconds=2)
                    result = http_load.finish(load)
                    assert result.failed == 0
                    asked += result.requests
                return asked

            def migrate() -> None:
                command.downgrade(config, "base")
                command.upgrade(config, "head")

            assert _meanwhile(ask_on, migrate) > 100
        assert recount(connection, repair=False) == []


@pytest.mark.one_in(2)
def test_the_program_before_goes_on_while_comments_come_go_and_come_back(
    cluster18: Cluster, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster18.url(cluster18.create_database(template=migrated))
    monkeypatch.setenv("DATABASE_URL", url)
    said = "SELECT id, post_id, parent_id, owner_id, content, path, version, votes FROM comments ORDER BY id"
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(ROWS)
        connection.execute(SAID)
        connection.execute("INSERT INTO comment_votes SELECT 1, post_id, id FROM comments WHERE id % 3 = 0")
        before = connection.execute(said).fetchall()

        def go_on(ended: Event) -> int:
            random, done = Random(1), 0
            with psycopg.connect(url, autocommit=True) as person:
                while not ended.is_set():
                    values = {"user": random.randint(1, 100), "post": random.randint(1, 2000)}
                    person.execute(random.choice(STATEMENTS), values)
                    done += 1
            return done

        def migrate() -> None:
            command.upgrade(revisions.config(), "head")
            command.downgrade(revisions.config(), BEFORE)
            command.upgrade(revisions.config(), "head")

        command.downgrade(revisions.config(), BEFORE)
        assert _meanwhile(go_on, migrate) > 50
        assert connection.execute(said).fetchall() == before
        assert recount(connection, repair=False) == []
