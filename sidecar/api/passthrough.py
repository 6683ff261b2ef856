"""Forwards requests that the upstream answers, and relays its answers unchanged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from reducto.oci import routes
from reducto.oci.registry_errors import NameInvalid
from reducto.oci.transport import RegistryRequest, RegistryResponse, Transport
from sidecar.api.exchange import Call, relay
from sidecar.runtime.offload import Offload

#: Is called with the upstream's answer before that is relayed. Returns another response to send instead, or None.
AnswerFilter = Callable[[RegistryResponse], Awaitable[web.StreamResponse | None]]


class Passthrough:
    """Forwards requests to the upstream."""

    def __init__(self, upstream: Transport, base: str, offload: Offload) -> None:
        """``base`` is the upstream's own URL, which must not reach clients, or empty for the embedded store."""
        self._upstream = upstream
        self.base = base
        self._offload = offload

    async def __call__(self, call: Call, answer_filter: AnswerFilter | None = None) -> web.StreamResponse:
        """The upstream's answer to the client's request, or the response that ``answer_filter`` gives instead."""
        if isinstance(call.route, routes.Other) and _has_dot_segments(call):
            raise NameInvalid("a path has no dot segments")
        async with await self.send(call.upstream_request()) as answer:
            other = await answer_filter(answer) if answer_filter is not None else None
            return other if other is not None else await self.relay(call, answer)

    async def send(self, request: RegistryRequest) -> AbstractAsyncContextManager[RegistryResponse]:
        """The upstream's answer to any request, as a context manager. Raises `Unavailable`."""
        return await self._upstream.send(request)

    async def relay(self, call: Call, answer: RegistryResponse) -> web.StreamResponse:
        """Sends the upstream's answer to the client as it is."""
        return await relay(call, answer, self.base, self._offload)


def _has_dot_segments(call: Call) -> bool:
    path = call.request.path
    return any(part in (".", "..") for part in path.split("/")) or "\\" in path or "\0" in path
