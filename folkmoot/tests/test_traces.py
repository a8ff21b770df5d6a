"""Traces: a span for each request and each of its statements, where a collector is set."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from api import SECRET
from folkmoot.app import create_app
from folkmoot.settings import SettingsError, load
from running import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.cluster import Cluster


class Collector(ThreadingHTTPServer):
    """Takes what is sent to it, and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taken)
        self.spans: Queue[tuple[str, str, dict[str, str]]] = Queue()


class _Taken(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        taken = ExportTraceServiceRequest()
        taken.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in taken.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    told = {each.key: str(each.value) for each in span.attributes}
                    told |= {each.key: str(each.value) for each in resource.resource.attributes}
                    self.server.spans.put((span.name, span.trace_id.hex(), told))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


@pytest.mark.one_in(3)
def test_a_request_and_its_statements_are_spans_of_the_trace_that_it_brought(
    cluster18: Cluster, migrated: str, collector: Collector, folder: Path
) -> None:
    name = cluster18.create_database(template=migrated)
    settings = {"DATABASE_URL": cluster18.url(name), "SECRET_KEY": SECRET, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with Service(folder, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **settings) as service:
        trace = "0af7651916cd43dd8448eb211c80319c"
        brought = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        assert httpx.get(f"{service.url}/posts/999?x=secret", headers=brought).status_code == 404
        mine: list[tuple[str, dict[str, str]]] = []
        while "GET /posts/{post_id}" not in dict(mine):
            span, of, told = collector.spans.get(timeout=20)
            if of == trace:
                mine.append((span, told))
    *statements, (_, request) = mine
    assert "404" in request["http.response.status_code"]
    assert "folkmoot" in request["service.name"]
    assert "p.title" in statements[0][1]["db.statement"]
    assert "secret" not in str(mine)
    cluster18.drop_database(name)


def test_traces_are_off_unless_set_and_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(load(secret_key=SECRET))
    assert "Traced" not in str(app.user_middleware)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT takes the URL"):
        load(otel_exporter_otlp_endpoint="collector:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.asyncpg", None)
    with pytest.raises(SettingsError, match=r"pip install 'folkmoot\[otel\]'"):
        load(otel_exporter_otlp_endpoint="http://127.0.0.1:4318")
