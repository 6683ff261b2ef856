"""A proxy in front of a real registry that produces faults on request. Tests of faults fake nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

#: The fault for a request: ``401``, ``503``, ``hang``, ``cut`` (the connection breaks after half the answer), ``lie``
#: (one bit of the body is wrong), ``garble`` (the body is no JSON), or None for no fault.
ChooseFault = Callable[[web.Request], str | None]
Wanted = Callable[[web.Request], bool]


class FaultyProxy:
    """``async with FaultyProxy(target) as proxy``: passes every request on, unless `how` names a fault for it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.how: ChooseFault = lambda _: None
        self.done = 0
        """How many requests had a fault."""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aenter__(self) -> FaultyProxy:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def once(self, how: str, wanted: Wanted) -> None:
        """Gives the next request that ``wanted`` accepts the fault ``how``."""
        already = self.done
        self.how = lambda request: how if wanted(request) and self.done == already else None

    def always(self, how: str, wanted: Wanted) -> None:
        """Gives every further request that ``wanted`` accepts the fault ``how``."""
        self.how = lambda request: how if wanted(request) else None

    def behave(self) -> None:
        self.how = lambda _: None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        how = self.how(request)
        self.done += how is not None
        if how in ("401", "503"):
            return web.Response(status=int(how))
        if how == "hang":
            await asyncio.sleep(60)
        data = await request.read()
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in ("host", "content-length"))
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, self.target + str(request.rel_url), data=data, headers=headers) as answer,
        ):
            return await self._answer(request, answer, how)

    async def _answer(
        self, request: web.Request, answer: aiohttp.ClientResponse, how: str | None
    ) -> web.StreamResponse:
        body = await answer.read()
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "date", "server")}
        if "Location" in kept:
            kept["Location"] = kept["Location"].replace(self.target, "")
        if how == "garble":
            body = b"<html>" + bytes(max(0, len(body) - 6))
        if how == "lie" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        response = web.StreamResponse(status=answer.status, headers=kept)
        response.content_length = int(answer.headers.get("Content-Length", len(body)))
        if how == "cut" and not body and request.transport:
            request.transport.abort()
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(body[: len(body) // 2] if how == "cut" else body)
        if how == "cut" and request.transport:
            request.transport.abort()
        return response
