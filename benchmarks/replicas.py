"""What a request costs each server in processor time: without replicas, on a replica, and while it is away.

make bench-replicas
"""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import timedelta
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest

from api import CHEAP, SECRET, UNLIMITED
from folkmoot.app import create_app
from folkmoot.people.tokens import Tokens
from folkmoot.settings import load
from readers import call
from replicated import Replicated

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.cluster import Cluster

REQUESTS, ROUNDS = 1000, 3
_TICK = 1000 / os.sysconf("SC_CLK_TCK")
_ROWS = """
    INSERT INTO users (email, password) SELECT n || '@example.com', '' FROM generate_series(1, 100) AS n;
    INSERT INTO posts (title, content, published, owner_id)
    SELECT 'Title ' || n, repeat('word ', 100), TRUE, n % 100 + 1 FROM generate_series(1, 5000) AS n;
    INSERT INTO sessions (user_id, family_hash, refresh_hash, expires_at)
    VALUES (1, '', '', now() + interval '1 day');
    VACUUM ANALYZE;
"""


def computed(cluster: Cluster) -> float:
    """How many milliseconds the processes of a server have computed."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    times = 0
    for pid in children.read_text().split():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        times += int(fields[11]) + int(fields[12])
    return times * _TICK


async def measured(
    servers: Replicated, settings: dict[str, Any], headers: dict[str, str], during: Callable[[], Any]
) -> list[float]:
    """The milliseconds of processor time of a request: of the worker, the primary and the replica."""
    app = create_app(load(**settings), CHEAP)
    async with app.router.lifespan_context(app):
        during()
        for _ in range(200):
            await call(app, "GET", "/posts", headers)
        rounds = []
        for _ in range(ROUNDS):
            gc.collect()
            clocks = [lambda: process_time() * 1000, _clock(servers.primary), _clock(servers.replicas[0])]
            before = [clock() for clock in clocks]
            for _ in range(REQUESTS):
                status, _, _ = await call(app, "GET", "/posts", headers)
                assert status == 200
            rounds.append([(clock() - then) / REQUESTS for clock, then in zip(clocks, before, strict=True)])
    return [min(each) for each in zip(*rounds, strict=True)]


def _clock(cluster: Cluster) -> Callable[[], float]:
    return lambda: computed(cluster) if cluster.runs() else 0.0


def main() -> None:
    with pytest.MonkeyPatch.context() as patch:
        servers = Replicated(1, patch)
    try:
        with servers.primary.connect(servers.database) as connection:
            for statement in _ROWS.split(";")[:-1]:
                connection.execute(statement.encode())
        servers.catch_up()
        alone = {
            **UNLIMITED, "database_url": servers.primary.url(servers.database), "secret_key": SECRET,
            "log_level": "error",
        }  # fmt: skip
        both = {**alone, "database_read_url": servers.read_url}
        token = Tokens(SECRET, timedelta(hours=1)).write(1, 1)
        ada = {"authorization": f"Bearer {token}"}
        print("| milliseconds a request | worker | primary | replica |\n| --- | --- | --- | --- |")
        for what, headers in (("nobody", {}), ("somebody", ada)):
            for where, settings, during in (
                ("without replicas", alone, lambda: None),
                ("on the replica", both, lambda: None),
                ("while it is stopped", both, servers.replicas[0].stop),
            ):
                found = asyncio.run(measured(servers, settings, headers, during))
                figures = " | ".join(f"{each:.3f}" for each in found)
                print(f"| the newest posts, {what}, {where} | {figures} |")
            servers.replicas[0].start()
            servers.catch_up()
    finally:
        servers.remove()


if __name__ == "__main__":
    main()
