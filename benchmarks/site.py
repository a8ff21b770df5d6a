"""A database with made-up rows, Folkmoot served on it, and PostgreSQL's own load generator beside it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING
from urllib.request import urlopen

import psycopg
from alembic import command
from rich.console import Console

from folkmoot.commands.made_up import Amounts
from folkmoot.commands.seed import seed
from folkmoot.people.passwords import HASHER
from folkmoot.people.tokens import PAGES, Tokens
from folkmoot.postgres import revisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster

ROOT = Path(__file__).parent.parent
_BIN = Path(sys.executable).parent
WORKERS = 2
CONNECTIONS = 16
PASSWORD = "correct horse battery staple"
_SECRET = "benchmark" * 5
#: What is limited is counted as shipped, and never too much.
COUNTED = {"WRITES_PER_MINUTE": "1000000", "SEARCHES_PER_MINUTE": "1000000"}
#: Put into one post in a hundred, and in ten thousand, evenly.
COMMON, RARE, ABSENT = "zyxcommon", "zyxrare", "zyxabsent"
#: How many people have an access token.
_TOKENS = 5000

#: What puts rows into an empty database at head.
Filling = Callable[[psycopg.Connection, Amounts], None]
INDEXES = """
    SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index AS i
     WHERE i.indrelid::regclass::text IN ('posts', 'post_ranks', 'votes', 'comments', 'comment_votes')
       AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
"""
_COUNTED = ("votes", "comments", "comment_votes")
_COUNT = """
    UPDATE post_ranks AS r SET votes = coalesce(v.n, 0), comments = coalesce(c.n, 0) FROM posts AS p
      LEFT JOIN (SELECT post_id, count(*) AS n FROM votes GROUP BY post_id) AS v ON v.post_id = p.id
      LEFT JOIN (SELECT post_id, count(*) AS n FROM comments GROUP BY post_id) AS c ON c.post_id = p.id
     WHERE p.id = r.post_id;
    UPDATE comments AS c SET votes = v.n
      FROM (SELECT post_id, comment_id, count(*) AS n FROM comment_votes GROUP BY 1, 2) AS v
     WHERE v.post_id = c.post_id AND v.comment_id = c.id
"""
#: The post whose number of comments is next to this one is the one that is read with its discussion.
_DISCUSSED = """
    SELECT post_id FROM post_ranks WHERE published ORDER BY abs(comments - 200), post_id LIMIT 1
"""


def amounts(posts: int) -> Amounts:
    """As many people, votes and comments as there are for one post: five posts and fifty of each a person."""
    return Amounts(posts // 5, posts, posts * 10, posts * 10)


def seed_fast(connection: psycopg.Connection, rows: Amounts) -> None:
    """Seed, in a third of the time: indexes, references and numbers of votes for all rows at once."""
    indexes = connection.execute(INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    for table in _COUNTED:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
    quiet = None if sys.stdout.isatty() else Console(quiet=True)
    seed(connection, rows, password_hash=HASHER.hash(PASSWORD), console=quiet)
    for word, every in ((COMMON, 100), (RARE, 10_000)):
        connection.execute(
            "UPDATE posts SET content = content || ' ' || %s WHERE id %% %s = 7", (word, every)
        )
    connection.execute(_COUNT)
    for table in _COUNTED:
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL".encode())
    for _, definition in indexes:
        connection.execute(definition.encode())


class Site:
    """A database with its rows, and what is needed to talk to the server on it."""

    def __init__(self, cluster: Cluster, rows: Amounts, fill: Filling = seed_fast) -> None:
        self.cluster, self.amounts = cluster, rows
        self._database = cluster.create_database()
        self.url = cluster.url(self._database)
        os.environ["DATABASE_URL"] = self.url
        command.upgrade(revisions.config(), "head")
        began = time.monotonic()
        with self.connect() as connection:
            fill(connection, rows)
            first = connection.execute(
                "INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at) "
                "SELECT id, '', '', now() + interval '1 day' FROM users ORDER BY id RETURNING user_id, id"
            ).fetchone()
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
            discussed = connection.execute(_DISCUSSED).fetchone()
            #: The post that is read with its discussion.
            self.discussed = discussed[0] if discussed else 1
            self.emails = [row[0] for row in connection.execute("SELECT email FROM users LIMIT 100")]
        self.took = time.monotonic() - began
        assert first is not None
        self.first_user, self.first_session = first
        #: The server's process by its address.
        self.pids: dict[str, int] = {}
        tokens, cookies = (
            Tokens(_SECRET, timedelta(days=1), **options) for options in ({}, {"purpose": PAGES})
        )
        some = [
            (self.first_user + number, self.first_session + number)
            for number in Random(2).sample(range(rows.users), min(_TOKENS, rows.users))
        ]
        #: Of some people: what the API takes, and what the pages take.
        self.tokens = [tokens.write(*each) for each in some]
        self.cookies = [f"folkmoot_session={cookies.write(*each)}" for each in some]

    def connect(self) -> psycopg.Connection:
        return self.cluster.connect(self._database)

    @contextmanager
    def served(self, application: str = "measured", **environment: str) -> Iterator[str]:
        """Serve with Granian, as `folkmoot serve` does, and give the address."""
        port = _free_port()
        command = [
            str(_BIN / "granian"), "--interface", "asgi", "--factory", "--no-ws",
            "--workers", environment.get("WORKERS", str(WORKERS)), "--port", str(port),
            "--log-level", "warning", f"benchmarks.apps:{application}",
        ]  # fmt: skip
        with self._running(command, port, {**COUNTED, "LOG_LEVEL": "warning", **environment}) as base:
            yield base

    @contextmanager
    def shipped(self, log: IO[str]) -> Iterator[str]:
        """Run `folkmoot serve` with its own limits, and give the address."""
        port = _free_port()
        environment = {"PORT": str(port), "WORKERS": str(WORKERS)}
        with self._running([str(_BIN / "folkmoot"), "serve"], port, environment, log) as base:
            yield base

    @contextmanager
    def _running(
        self, command: list[str], port: int, environment: dict[str, str], log: IO[str] | None = None
    ) -> Iterator[str]:
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=log, stderr=log,
            env={**os.environ, "DATABASE_URL": self.url, "SECRET_KEY": _SECRET, **environment},
        )  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{base}/posts")
            self.pids[base] = process.pid
            yield base
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    def memory(self, base: str) -> list[float]:
        """The resident memory of each worker of a server, in MiB."""
        server = self.pids[base]
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        pages = [int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children]
        sizes = sorted((n * os.sysconf("SC_PAGE_SIZE") / 2**20 for n in pages), reverse=True)
        return sizes[:WORKERS]

    def pgbench(self, statement: str, seconds: float) -> float:
        """Transactions/s of a statement; ``:user``, ``:session`` and ``:post`` are drawn anew each time."""
        script = (
            f"\\set user random({self.first_user}, {self.first_user + self.amounts.users - 1})\n"
            f"\\set session :user + {self.first_session - self.first_user}\n"
            f"\\set post random(1, {self.amounts.posts})\n\\set count 11\n"
            f"\\set discussed {self.discussed}\n{statement};\n"
        )
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            done = subprocess.run(
                [
                    str(self.cluster.bin / "pgbench"), "-n", "-M", "prepared", "-c", str(CONNECTIONS),
                    "-j", "1", "-T", str(max(round(seconds), 1)), "-f", file.name, self.url,
                ],
                env={**os.environ, **COUNTED, "PGOPTIONS": "-c plan_cache_mode=force_generic_plan"},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"pgbench failed: {done.stderr}")
        return float(found[1])

    def twin(self) -> str:
        """The URL of a new database with the same rows in the schema of c47ecbf163d4."""
        os.environ["DATABASE_URL"] = url = self.cluster.url(self.cluster.create_database())
        command.upgrade(revisions.config(), "c47ecbf163d4")
        with psycopg.connect(self.url) as source, psycopg.connect(url, autocommit=True) as target:
            for table, columns in {
                "users": "id, email, password, created_at",
                "posts": "id, title, content, published, created_at, owner_id",
                "votes": "user_id, post_id",
            }.items():
                with (
                    source.cursor().copy(f"COPY {table} ({columns}) TO STDOUT".encode()) as rows,
                    target.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
                ):
                    for data in rows:
                        copy.write(data)
            target.execute("VACUUM (ANALYZE)")
        return url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url} does not answer")
