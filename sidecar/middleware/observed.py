"""What happens around each request on the data port: it is parsed, timed, counted and logged.

Every refusal leaves in the registry API's own form, and every line that the request causes carries its id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from reducto.oci.registry_errors import RegistryError
from sidecar.api.error_response import error_response
from sidecar.api.exchange import CALL, Call, ClientGone, call_of
from sidecar.runtime import logs
from sidecar.runtime.activity import Activity
from sidecar.runtime.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: The status, in metrics and logs, of a request whose client left before its answer was complete.
CLIENT_LEFT = 499
_PATH_LIMIT_CHARS, _AGENT_LIMIT_CHARS = 300, 120
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def observed(activity: Activity, metrics: Metrics, body_timeout_seconds: float) -> Middleware:
    """The outermost middleware of the data port. It puts the parsed `Call` into the request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL] = call_of(request, body_timeout_seconds)
        started, status = time.monotonic(), CLIENT_LEFT
        with (
            logs.bound(request_id=call.caller.request_id),
            activity.request(),
            metrics.in_flight.track_inprogress(),
        ):
            try:
                response = await _answered(call, handler)
                status = response.status
                return response
            finally:
                _report(call, status, time.monotonic() - started, metrics)

    return middleware


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """Tells the client its request's id in every answer; for `web.Application.on_response_prepare`."""
    if CALL in request:  # it is not when the request itself was malformed
        response.headers["X-Request-Id"] = request[CALL].caller.request_id


def _report(call: Call, status: int, seconds: float, metrics: Metrics) -> None:
    route = type(call.route).__name__
    method = call.method if call.method in _METHODS else "other"
    metrics.requests.labels(route=route, method=method, status=str(status)).inc()
    metrics.request_seconds.labels(route=route).observe(seconds)
    logs.event(
        "request",
        method=call.method,
        path=call.request.path[:_PATH_LIMIT_CHARS],
        status=status,
        seconds=round(seconds, 4),
        client=call.caller.client,
        agent=call.caller.user_agent[:_AGENT_LIMIT_CHARS],
    )


async def _answered(call: Call, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or the refusal that its error means for the client."""
    request = call.request
    try:
        return await handler(request)
    except RegistryError as error:
        return error_response(error)
    except (web.HTTPException, asyncio.CancelledError):
        raise
    except Exception as error:
        transport = request.transport
        if isinstance(error, ClientGone) or (isinstance(error, OSError) and (not transport or transport.is_closing())):
            logs.event("client-left", logging.INFO, error=str(error)[:200])
            if transport is not None:
                transport.abort()
            return web.Response(status=CLIENT_LEFT)
        logs.trouble("request-failed", error, method=call.method, path=request.path[:_PATH_LIMIT_CHARS])
        return error_response(RegistryError("an internal error; the log has its trace"))
