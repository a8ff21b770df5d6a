"""One run of `make bench`: how long it measures, and its servers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import http_load as load
from benchmarks.http_load import Request
from benchmarks.report import Part
from benchmarks.site import CONNECTIONS, Filling, Site, amounts, seed_fast
from testing.cluster import Cluster

if TYPE_CHECKING:
    from contextlib import ExitStack

    from folkmoot.commands.made_up import Amounts

#: Durable, as shipped; a gigabyte of memory, so that what is measured is not the disk.
SETTINGS = ("shared_buffers=1GB", "max_wal_size=8GB", "maintenance_work_mem=512MB")


@dataclass(frozen=True)
class Options:
    """How long to measure each thing, in seconds, how often, and on how many rows."""

    #: Warm up, measure every part of each comparison anew, and leave nothing out.
    thorough: bool
    seconds: float
    rounds: int
    #: How many rounds of one request after another: their medians differ by where the processes run.
    turns: int
    posts: int
    grown: tuple[int, int]
    page: int
    requests: int


FULL = Options(
    thorough=True, seconds=3, rounds=3, turns=7, posts=100_000, grown=(10_000, 1_000_000),
    page=1000, requests=200_000,
)  # fmt: skip
SHORT = Options(
    thorough=False, seconds=1, rounds=1, turns=1, posts=10_000, grown=(1000, 10_000),
    page=100, requests=5000,
)  # fmt: skip


class Run:
    """The servers of one run, each started when it is first asked for."""

    def __init__(self, options: Options, stack: ExitStack) -> None:
        self.options, self._stack = options, stack
        self._noop: float | None = None

    @cached_property
    def cluster(self) -> Cluster:
        cluster = Cluster(18, SETTINGS)
        self._stack.callback(cluster.remove)
        return cluster

    def seeded(self, rows: Amounts, part: Part, fill: Filling = seed_fast) -> Site:
        site = Site(self.cluster, rows, fill)
        part.say(
            f"{rows.posts:,} posts, {rows.votes:,} votes, {rows.users:,} people: seeded in {site.took:.0f} s."
        )
        return site

    def served(self, site: Site, **environment: str) -> str:
        return self._stack.enter_context(site.served(**environment))

    @cached_property
    def usual(self) -> tuple[Site, str]:
        """The site of most parts, and its address."""
        site = self.seeded(amounts(self.options.posts), Part("all"))
        return site, self.served(site)

    def load(self, base: str, requests: list[Request], connections: int = CONNECTIONS) -> load.Result:
        return load.run(
            base, requests, connections=connections, seconds=self.options.seconds,
            warm_up=self.options.thorough,
        )  # fmt: skip

    def noop(self) -> float:
        """Requests/s of a route that does nothing but check the login."""
        site, _ = self.usual
        if self._noop is None or self.options.thorough:
            self._noop = self.does_nothing([Request("/noop", token) for token in site.tokens[:1000]])
        return self._noop

    def does_nothing(self, requests: list[Request]) -> float:
        """Requests/s of a no-op route; raises RuntimeError where it refuses some."""
        _, base = self.usual
        found = self.load(base, requests)
        if found.failed or not found.requests:
            raise RuntimeError(f"{found.failed} of {found.requests} failed: {requests[0].path}")
        return found.per_second

    def alternately(self, *each: tuple[str, list[Request]]) -> list[float]:
        """The median time of one request after another, in ms, of things that are measured in turns."""
        times: list[list[float]] = [[] for _ in each]
        for _ in range(self.options.turns):
            for (base, requests), found in zip(each, times, strict=True):
                found.append(load.run(base, requests, connections=1, seconds=1, warm_up=False).p50)
        return [median(found) for found in times]


def check(part: Part, name: str, result: load.Result) -> None:
    if result.failed or not result.requests:
        part.fail(f"{name}: {result.failed} of {result.requests} requests failed")
