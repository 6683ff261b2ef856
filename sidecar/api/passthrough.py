"""Requests that are the upstream's to answer go there and back untouched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from aiohttp import web

from reducto.oci import routes
from reducto.oci.errors import NameInvalid
from reducto.oci.transport import RegistryRequest, RegistryResponse, Transport
from sidecar.api.exchange import Call, relay
from sidecar.runtime.offload import Offload

#: Looks at the upstream's answer before it is relayed, and may give another response in its place.
Instead = Callable[[RegistryResponse], Awaitable[web.StreamResponse | None]]


class Passthrough:
    """Forwards requests. ``base`` is the upstream's own URL, which clients must never be sent to."""

    def __init__(self, upstream: Transport, base: str, offload: Offload) -> None:
        self._upstream = upstream
        self.base = base
        self._offload = offload

    async def __call__(self, call: Call, instead: Instead | None = None) -> web.StreamResponse:
        """The upstream's answer to the client's request, or what ``instead`` makes of it."""
        if isinstance(call.route, routes.Other) and _climbs(call):
            raise NameInvalid("a path has no dot segments")
        async with await self.send(call.upstream_request()) as answer:
            other = await instead(answer) if instead is not None else None
            return other if other is not None else await self.relay(call, answer)

    async def send(self, request: RegistryRequest) -> AbstractAsyncContextManager[RegistryResponse]:
        """The upstream's answer to any request, as a context manager. Raises `Unavailable`."""
        return await self._upstream.send(request)

    async def relay(self, call: Call, answer: RegistryResponse) -> web.StreamResponse:
        """Sends the upstream's answer to the client as it is."""
        return await relay(call, answer, self.base, self._offload)


def _climbs(call: Call) -> bool:
    path = call.request.path
    return any(part in (".", "..") for part in path.split("/")) or "\\" in path or "\0" in path
