"""What is not ours goes to the upstream and back untouched."""

from __future__ import annotations

from aiohttp import web

from reducto.oci import routes
from reducto.oci.errors import NameInvalid
from sidecar.api.exchange import Call, relay
from sidecar.runtime.offload import Offload
from sidecar.upstream.base import Upstream


class Passthrough:
    """Forwards a call. ``base`` is the upstream's own URL, which clients must never be sent to."""

    def __init__(self, upstream: Upstream, base: str, offload: Offload) -> None:
        self.upstream = upstream
        self.base = base
        self._offload = offload

    async def __call__(self, call: Call) -> web.StreamResponse:
        """The upstream's answer to the client's request."""
        if isinstance(call.route, routes.Other) and _climbs(call):
            raise NameInvalid("a path has no dot segments")
        async with await self.upstream.send(call.upstream_request()) as answer:
            return await relay(call, answer, self.base, self._offload)


def _climbs(call: Call) -> bool:
    path = call.request.path
    return any(part in (".", "..") for part in path.split("/")) or "\\" in path or "\0" in path
