"""Traces for OpenTelemetry: a span for each request, and one for each statement within it.

How many are kept and what the service is called are said by OpenTelemetry's own settings
(``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME`` …), which its library reads. Needs the extra ``otel``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What begins the name of a service that nothing has named.
_UNNAMED = "unknown_service"


class Traced:
    """A span around each request, named by its method and the template of its path."""

    def __init__(self, app: ASGIApp, endpoint: str) -> None:
        self._app = app
        named = Resource.create()
        if str(named.attributes["service.name"]).startswith(_UNNAMED):
            named = named.merge(Resource({"service.name": "folkmoot"}))
        provider = TracerProvider(resource=named)
        # Sent some at a time, from a thread of its own, and dropped where nobody takes them.
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = provider.get_tracer("folkmoot")
        # What is written in a statement stands there as $1: its parameters are people's and are not told.
        instrumentor = AsyncPGInstrumentor(capture_parameters=False)  # type: ignore[no-untyped-call]
        instrumentor.instrument(tracer_provider=provider)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"], propagate.extract(brought), trace.SpanKind.SERVER
        ) as span:

            async def send_told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, send_told)
            finally:
                route = getattr(scope.get("route"), "path", None)
                span.set_attribute("http.request.method", scope["method"])
                if route:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
