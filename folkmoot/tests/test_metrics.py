"""Metrics: of all workers, off unless set, on an address of their own, and no more series than routes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import SECRET
from folkmoot.app import create_app
from folkmoot.commands import serve
from folkmoot.settings import SettingsError, load
from replicated import until
from running import Service, ask, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.cluster import Cluster


class Measured:
    """A service of two workers with metrics, and what these say."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.url = f"http://127.0.0.1:{port}/metrics"

    def text(self) -> str:
        return ask(self.url).text

    def values(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


@pytest.fixture(scope="module")
def measured(
    cluster18: Cluster, migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    name, port = cluster18.create_database(template=migrated), free_port()
    settings = {"DATABASE_URL": cluster18.url(name), "SECRET_KEY": SECRET, "WORKERS": "2"}
    folder = tmp_path_factory.mktemp("metrics")
    with Service(folder, METRICS_PORT=str(port), DATABASE_POOL_SIZE="3", **settings) as service:
        yield Measured(service, port)
    cluster18.drop_database(name)


def test_requests_of_all_workers_are_counted_by_route_and_status(measured: Measured) -> None:
    url = measured.service.url
    before = sum(measured.values("http_requests_total", route="/posts"))
    for _ in range(20):  # each over a connection of its own: both workers answer some
        assert ask(f"{url}/posts").status_code == 200
    assert ask(f"{url}/posts/1").status_code == 404
    assert (
        sum(measured.values("http_requests_total", method="GET", route="/posts", status="200")) == before + 20
    )
    assert measured.values("http_requests_total", route="/posts/{post_id}", status="404") == [1]
    assert measured.values("http_request_duration_seconds_count", route="/posts/{post_id}") == [1]


def test_hostile_paths_and_methods_make_no_more_series(measured: Measured) -> None:
    url = measured.service.url
    with httpx.Client() as client:
        client.get(f"{url}/nothing")
        client.request("BREW", f"{url}/posts")
        before = len(measured.text().splitlines())
        for n in range(50):
            client.get(f"{url}/nothing-{n}")
            client.get(f"{url}/nothing/%22%7D%0A{n}")
            client.request(f"BREW{n}", f"{url}/posts")
    assert len(measured.text().splitlines()) <= before + 40  # the other worker's first ones, at most
    assert "BREW" not in measured.text()
    assert "nothing" not in measured.text()


def test_the_pool_and_the_outbox_are_told(measured: Measured) -> None:
    until(lambda: sum(measured.values("folkmoot_pool_connections")) == 6)  # a worker looks each second
    assert measured.values("folkmoot_pool_waiting") == [0]
    assert measured.values("folkmoot_outbox_mails") == [0]


def test_metrics_are_not_on_the_address_that_people_come_to(measured: Measured) -> None:
    assert ask(f"{measured.service.url}/metrics").status_code == 404


@pytest.mark.prove
def test_a_worker_that_was_killed_counts_no_more_connections_and_its_requests_stay(
    measured: Measured,
) -> None:
    for _ in range(20):
        ask(f"{measured.service.url}/healthz")
    answered = sum(measured.values("http_requests_total", route="/healthz"))
    [victim] = _workers(measured.service.process.pid)[:1]
    os.kill(victim, signal.SIGKILL)
    while (
        victim in _workers(measured.service.process.pid)
        or sum(measured.values("folkmoot_pool_connections")) != 6
    ):
        assert measured.service.process.poll() is None
    assert sum(measured.values("http_requests_total", route="/healthz")) == answered


def _workers(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if _serves(int(child))]


def _serves(process: int) -> bool:
    """Whether it is a worker: neither gone, nor what Python starts beside them."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return bool(command) and b"resource_tracker" not in command


def test_a_port_for_metrics_that_is_no_other_or_cannot_be_had_is_said() -> None:
    with pytest.raises(SettingsError, match="METRICS_PORT takes another port than PORT"):
        serve._check_ports(load(port=8123, metrics_port=8123))  # noqa: SLF001 - what the command begins with
    taken = load(port=free_port(), metrics_port=8123, metrics_host="192.0.2.1")
    with pytest.raises(
        SettingsError, match=r"METRICS_HOST, METRICS_PORT: cannot listen on 192\.0\.2\.1:8123"
    ):
        serve._check_ports(taken)  # noqa: SLF001 - as above


def test_without_a_port_nothing_is_measured() -> None:
    app = create_app(load(secret_key=SECRET))
    assert app.user_middleware[0].kwargs == {"metrics": None}
