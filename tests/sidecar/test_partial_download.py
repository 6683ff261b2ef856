"""A pull does not wait for a whole corpus: it reads the corpus's file while that is downloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.api.exchange import call_of
from sidecar.api.passthrough import Passthrough
from sidecar.cache.partial_download import PartialDownload
from sidecar.embedded.store import EmbeddedUpstream
from sidecar.runtime.offload import Offload
from tests.codec.samples import words
from tests.sidecar.conftest import OpenRig
from tests.support.sidecar_rig import Rig

LAYER = words(12_000_000)


class SlowRegistry:
    """A store that sends half of each large blob, waits until `released` is set, then goes on or breaks off."""

    def __init__(self, upstream: EmbeddedUpstream, offload: Offload) -> None:
        self.upstream = upstream
        self.pass_through = Passthrough(upstream, "", offload)
        self.released = asyncio.Event()
        self.breaks = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = call_of(request, 60.0)
        if request.method != "GET" or "/blobs/" not in request.path:
            return await self.pass_through(call)
        async with await self.upstream.send(call.upstream_request()) as answer:
            body = await answer.read(1 << 30)
        response = web.StreamResponse(status=answer.status)
        response.content_length = len(body)
        await response.prepare(request)
        resumed = "Range" in request.headers
        half = 0 if resumed else len(body) // 2
        await response.write(body[:half])
        if resumed or len(body) > 500_000:
            await self.released.wait()
            if self.breaks and request.transport:
                request.transport.abort()
                return response
        await response.write(body[half:])
        return response


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[SlowRegistry]:
    offload = Offload(2)
    upstream = await offload.io(EmbeddedUpstream, tmp_path / "bare", offload)
    registry = SlowRegistry(upstream, offload)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", registry.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield registry
    registry.released.set()
    await runner.cleanup()
    await upstream.close()
    await asyncio.to_thread(offload.close)


async def fresh_puller(new_rig: OpenRig, slow: SlowRegistry) -> tuple[Rig, str]:
    """A sidecar with empty caches, and the path of a blob that was pushed through another one."""
    pusher = await new_rig(upstream=slow.url, state="pusher")
    digest = await pusher.push_blob("app", LAYER)
    assert await pusher.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 1
    return await new_rig(upstream=slow.url, state="puller"), f"/v2/app/blobs/{digest}"


async def test_the_first_bytes_leave_while_the_corpus_arrives(new_rig: OpenRig, slow: SlowRegistry) -> None:
    rig, path = await fresh_puller(new_rig, slow)
    async with asyncio.timeout(20), rig.session.get(rig.url + path) as answer:
        first = await answer.content.readexactly(100_000)
        assert not slow.released.is_set()
        slow.released.set()
        assert first + await answer.content.read() == LAYER


async def test_a_corpus_that_stops_arriving_breaks_the_pull_and_leaves_nothing(
    new_rig: OpenRig, slow: SlowRegistry
) -> None:
    rig, path = await fresh_puller(new_rig, slow)
    slow.breaks = True
    async with asyncio.timeout(30), rig.session.get(rig.url + path) as answer:
        await answer.content.readexactly(100_000)
        slow.released.set()
        with pytest.raises((aiohttp.ClientPayloadError, asyncio.IncompleteReadError, ConnectionError)):
            await answer.content.readexactly(len(LAYER) - 100_000)
    corpora = rig.folder / "cache" / "corpora"
    async with asyncio.timeout(20):  # The second attempt must fail, too.
        while await asyncio.to_thread(lambda: list(corpora.iterdir())):  # noqa: ASYNC110 (a folder tells nobody)
            await asyncio.sleep(0.05)
    slow.breaks = False
    assert (await rig("GET", path)).body == LAYER


async def test_stopping_does_not_wait_for_what_arrives(new_rig: OpenRig, slow: SlowRegistry) -> None:
    rig, path = await fresh_puller(new_rig, slow)
    async with asyncio.timeout(20), rig.session.get(rig.url + path) as answer:
        await answer.content.readexactly(100_000)
        await rig.close()
        slow.released.set()


async def test_waiting_ends_with_the_bytes_or_the_error() -> None:
    download = PartialDownload(lambda: None)
    waiting = [asyncio.create_task(download.reached(10)), asyncio.create_task(asyncio.to_thread(download.wait, 10))]
    await download.advance(9)
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    await download.advance(10)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    download.fail(ConnectionError("gone"))
    await download.reached(10)
    for wait in (download.reached(11), asyncio.to_thread(download.wait, 11)):
        with pytest.raises(ConnectionError):
            await wait


async def test_a_transfer_waits_for_its_readers_at_first_and_not_for_long() -> None:
    download = PartialDownload(lambda: None)
    await download.advance(100_000)
    ahead = asyncio.create_task(download.advance(1_000_000))
    await asyncio.sleep(0)
    assert not ahead.done()
    # These bytes are there already, so the reader does not ask for more.
    await asyncio.to_thread(download.wait, 999_999)
    await asyncio.wait_for(asyncio.gather(ahead, download.reached(1_000_000)), 5)
    further = asyncio.create_task(download.advance(3_000_000))
    await asyncio.wait_for(further, 5)  # No reader asked for these bytes, but the throttle has ended.
    await asyncio.wait_for(download.advance(4_000_000), 0.1)
