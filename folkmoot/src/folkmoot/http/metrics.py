"""Numbers for Prometheus, from all workers: what was asked and how long it took, the pool, the outbox.

Each worker writes its own into files of one folder (``PROMETHEUS_MULTIPROC_DIR``), and `folkmoot serve` adds
them up for whoever asks at METRICS_PORT. prometheus-client decides at its import whether it writes files, so
it is imported where metrics are on, after the folder was named.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from wsgiref.simple_server import WSGIServer

    from starlette.types import Scope

    from folkmoot.postgres.pool import Pool

#: Where the workers write; prometheus-client's own name for it.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: How often a worker looks at its pool, and at the outbox, in seconds.
_POOL_SECONDS, _OUTBOX_SECONDS = 1.0, 15.0
_OUTBOX = "SELECT count(*) FROM outbox"
#: Other methods are one: a label has as many values as the program, and never as many as its clients.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LIVE = re.compile(r"gauge_live\w*_(\d+)\.db")


class Metrics:
    """What one worker counts."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415 - see above

        registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests", "Requests that were answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds", "From a request's head to the end of its answer.", ("route",),
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self._pool = Gauge(
            "folkmoot_pool_connections", "Connections to the database.", ("state",),
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "folkmoot_pool_waiting", "Requests that wait for a connection to the database.",
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self._outbox = Gauge(
            "folkmoot_outbox_mails", "Mails that are not sent yet.",
            multiprocess_mode="livemostrecent", registry=registry,
        )  # fmt: skip
        #: The numbers of what was seen already: finding them by their labels takes longer than counting.
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request. Its route is the template of its path, which there are only so many of."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        key = (method, route, status)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (self._requests.labels(*map(str, key)), self._seconds.labels(route))
        requests, duration = found
        requests.inc()
        duration.observe(seconds)

    @asynccontextmanager
    async def watching(self, pool: Pool) -> AsyncIterator[None]:
        """Look at the pool and the outbox from time to time, until the end of the block."""
        watch = asyncio.create_task(self._watch(pool))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self, pool: Pool) -> None:
        turn = 0
        while True:
            self._pool.labels("used").set(pool.get_size() - pool.get_idle_size())
            self._pool.labels("idle").set(pool.get_idle_size())
            self._waiting.set(pool.waiting)
            if turn % (_OUTBOX_SECONDS // _POOL_SECONDS) == 0:
                with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    self._outbox.set(await pool.fetchval(_OUTBOX))
            turn += 1
            await asyncio.sleep(_POOL_SECONDS)


def serve(host: str, port: int, folder: str) -> WSGIServer:
    """Answer whoever asks for the numbers of all workers that write into this folder, in a thread."""
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - as above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - as above

    class Living(MultiProcessCollector):
        """Without the pools of workers that are gone."""

        def collect(self) -> Any:
            for path in Path(folder).iterdir():
                if (gauge := _LIVE.fullmatch(path.name)) and not _runs(int(gauge[1])):
                    path.unlink(missing_ok=True)
            return super().collect()  # type: ignore[no-untyped-call] # prometheus-client has none there

    registry = CollectorRegistry()
    Living(registry, path=folder)  # type: ignore[no-untyped-call] # as above
    server, _ = start_http_server(port, host, registry)
    return server


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
