"""OpenTelemetry traces: one span for each request, which continues the client's trace (header ``traceparent``).

Traces need the package extra ``tracing``. Without `TracingOptions.endpoint` nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.config import TracingOptions
from reducto.errors import UsageError
from reducto.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tracing:
    """Sends spans to an OTLP collector from a thread of its own. Raises `UsageError` without the extra ``tracing``."""

    def __init__(self, options: TracingOptions) -> None:
        self._provider = _provider(options)
        self._tracer = self._provider.get_tracer("reducto", __version__)

    def middleware(self) -> Middleware:
        """A middleware for the data port that makes a span of each request."""
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind, Status, StatusCode

        @web.middleware
        async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
            attributes = {"http.request.method": request.method, "url.path": request.path[:300]}
            with self._tracer.start_as_current_span(
                request.method, propagate.extract(request.headers), SpanKind.SERVER, attributes
            ) as span:
                response = await handler(request)
                span.set_attribute("http.response.status_code", response.status)
                if response.status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
                return response

        return traced

    def close(self) -> None:
        """Sends the spans that are left, and ends the thread. Blocks for up to some seconds."""
        self._provider.shutdown()


def _provider(options: TracingOptions) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise UsageError("tracing.endpoint is set, but OpenTelemetry is not installed: reducto[tracing]") from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(options.sample_ratio)),
        resource=Resource.create({SERVICE_NAME: "reducto", SERVICE_VERSION: __version__}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=options.endpoint)))
    return provider
