"""Traces arrive at a collector, continue the client's, and are absent unless asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from reducto.config import TracingOptions
from sidecar.runtime.tracing import Tracing

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def spans_of(sample_ratio: float, headers: dict[str, str]) -> list[object]:
    """The spans that a collector gets for one good and one failing request."""
    received: list[object] = []

    async def collect(request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        received.extend(span for one in message.resource_spans for scope in one.scope_spans for span in scope.spans)
        return web.Response()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=502 if request.path.endswith("bad") else 200)

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    async with TestServer(collector) as otlp:
        endpoint = str(otlp.make_url("/v1/traces"))
        tracing = Tracing(TracingOptions(endpoint=endpoint, sample_ratio=sample_ratio))
        app = web.Application(middlewares=[tracing.middleware()])
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server, ClientSession(headers=headers) as client:
            for path in ("/v2/good", "/v2/bad"):
                async with client.get(server.make_url(path)) as reply:
                    assert reply.status in (200, 502)
        await asyncio.to_thread(tracing.close)
    return received


async def test_each_request_is_a_span_of_the_clients_trace() -> None:
    spans = await spans_of(0.0, {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"})
    assert [span.trace_id.hex() for span in spans] == [TRACE_ID, TRACE_ID]
    good, bad = ({one.key: one.value for one in span.attributes} for span in spans)
    assert good["url.path"].string_value == "/v2/good"
    assert bad["http.response.status_code"].int_value == 502
    assert [span.status.code for span in spans] == [0, 2]


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (1.0, 2)])
async def test_sampling(ratio: float, count: int) -> None:
    assert len(await spans_of(ratio, {})) == count


def test_nothing_of_it_is_imported_unless_asked_for() -> None:
    code = "import sys, sidecar.serve; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
