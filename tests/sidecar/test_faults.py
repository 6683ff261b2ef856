"""What goes wrong around the sidecar: nothing acknowledged is lost, nothing wrong is served, nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from reducto.model import Digest
from sidecar.exchange import call_of
from sidecar.offload import Offload
from sidecar.passthrough import Passthrough
from sidecar.upstream.embedded import EmbeddedUpstream
from tests.sidecar.conftest import OpenRig
from tests.support.sidecar_rig import Rig, noise

LAYER = noise(400_000, 3)
Misbehave = Callable[[web.Request], str | None]


class Wicked:
    """A proxy before a sidecar's own store that misbehaves as it is told."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.how: Misbehave = lambda _: None
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        how = self.how(request)
        if how == "503":
            return web.Response(status=503)
        if how == "hang":
            await asyncio.sleep(60)
        data = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, self.target + str(request.rel_url), data=data, headers=headers) as answer,
        ):
            body = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "date", "server")}
            if how == "lie" and body:
                body = body[:-1] + bytes([body[-1] ^ 1])
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = int(answer.headers.get("Content-Length", len(body)))
            await response.prepare(request)
            if request.method != "HEAD":
                await response.write(body[: len(body) // 2] if how == "cut" else body)
            if how == "cut" and request.transport:
                request.transport.abort()
            return response


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a bare registry."""
    offload = Offload(2)
    upstream = await offload.io(EmbeddedUpstream, tmp_path / "bare", offload)
    passthrough = Passthrough(upstream, "", offload)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await passthrough(call_of(request, 60.0))

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    await upstream.close()
    await asyncio.to_thread(offload.close)


@pytest.fixture
async def wicked(store: str) -> AsyncIterator[Wicked]:
    proxy = Wicked(store)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.port = runner.addresses[0][1]
    yield proxy
    await runner.cleanup()


@pytest.fixture
async def behind(new_rig: OpenRig, wicked: Wicked) -> Rig:
    return await new_rig(upstream=f"http://127.0.0.1:{wicked.port}", state="front", read_timeout=30.0)


def once(how: str, wanted: Callable[[web.Request], bool]) -> Misbehave:
    seen: list[str] = []

    def misbehave(request: web.Request) -> str | None:
        if wanted(request) and not seen:
            seen.append(how)
            return how
        return None

    return misbehave


@pytest.mark.parametrize("how", ["503", "cut"])
async def test_a_passing_fault_of_the_upstream_is_not_seen(behind: Rig, wicked: Wicked, how: str) -> None:
    digest = await behind.push_blob("app", LAYER)
    await asyncio.to_thread(_forget, behind)
    assert await behind.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 1
    wicked.how = once(how, lambda request: request.method == "GET" and "/blobs/" in request.path)
    answer = await behind.get_blob("app", digest)
    assert (answer.status, answer.body) == (200, LAYER)


@pytest.mark.parametrize("how", ["503", "cut", "lie"])
async def test_a_lasting_fault_gives_an_error_and_nothing_wrong(behind: Rig, wicked: Wicked, how: str) -> None:
    digest = await behind.push_blob("app", LAYER)
    await asyncio.to_thread(_forget, behind)
    wicked.how = lambda request: how if request.method == "GET" and "/blobs/" in request.path else None
    answer = await behind.get_blob("app", digest)
    assert answer.status in (500, 502, 503), answer.status
    assert answer.code
    wicked.how = lambda _: None
    assert (await behind.get_blob("app", digest)).body == LAYER
    assert await asyncio.to_thread(_left_behind, behind) == []


async def test_a_push_that_the_upstream_refuses_is_not_acknowledged(behind: Rig, wicked: Wicked) -> None:
    wicked.how = lambda request: "503" if request.method == "PUT" else None
    answer = await behind("POST", "/v2/app/blobs/uploads/")
    put = await behind("PUT", f"{answer.headers['Location']}?digest={Digest.of(LAYER)}", data=LAYER)
    assert put.status == 503
    wicked.how = lambda _: None
    assert (await behind("HEAD", f"/v2/app/blobs/{Digest.of(LAYER)}")).status == 404
    assert await asyncio.to_thread(_left_behind, behind) == []


async def test_a_dead_upstream_is_503_with_retry_after(new_rig: OpenRig, wicked: Wicked) -> None:
    rig = await new_rig(upstream=f"http://127.0.0.1:{wicked.port}", read_timeout=0.5, retries=1)
    wicked.how = lambda _: "hang"
    answer = await rig("GET", "/v2/app/manifests/v1")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize("victim", ["blobs", "corpora"])
async def test_corrupt_cache_files_are_never_served(new_rig: OpenRig, victim: str) -> None:
    rig = await new_rig()
    digest = await rig.push_blob("app", LAYER)
    assert (await rig.get_blob("app", digest)).body == LAYER
    await asyncio.to_thread(_corrupt, rig.folder / "cache" / victim)
    assert (await rig.get_blob("app", digest)).body == LAYER
    await rig.close()
    await asyncio.to_thread(_corrupt, rig.folder / "cache" / victim)
    again = await new_rig(state="0")
    assert (await again.get_blob("app", digest)).body == LAYER


async def test_a_client_that_leaves_takes_nothing_with_it(rig: Rig) -> None:
    answer = await rig("POST", "/v2/app/blobs/uploads/")
    location = answer.headers["Location"]

    async def half() -> AsyncIterator[bytes]:
        yield LAYER[:100_000]
        raise RuntimeError("gone")

    with contextlib.suppress(aiohttp.ClientError, RuntimeError):
        await rig("PATCH", location, data=half())
    for _ in range(100):
        status = await rig("GET", location)
        if status.headers["Range"] == "0-99999":
            break
        await asyncio.sleep(0.02)
    assert status.status == 204
    assert status.headers["Range"] == "0-99999"
    put = await rig("PUT", f"{location}?digest={Digest.of(LAYER)}", data=LAYER[100_000:])
    assert put.status == 201
    assert (await rig.get_blob("app", Digest.of(LAYER))).body == LAYER


async def test_a_wrong_digest_is_refused_and_leaves_nothing(rig: Rig) -> None:
    answer = await rig("POST", "/v2/app/blobs/uploads/")
    put = await rig("PUT", f"{answer.headers['Location']}?digest={Digest.of(b'other')}", data=LAYER)
    assert (put.status, put.code) == (400, "DIGEST_INVALID")
    assert await asyncio.to_thread(_left_behind, rig) == []


async def test_chunks_out_of_order_are_416(rig: Rig) -> None:
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]
    assert (await rig("PATCH", location, data=b"abc", headers={"Content-Range": "0-2"})).status == 202
    late = await rig("PATCH", location, data=b"xyz", headers={"Content-Range": "6-8"})
    assert late.status == 416
    assert late.headers["Range"] == "0-2"
    assert (await rig("DELETE", location)).status == 204
    assert (await rig("GET", location)).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.slow
async def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(4)
    acknowledged: dict[Digest, bytes] = {}
    for round_number in range(int(os.environ.get("REDUCTO_KILL_ROUNDS", "5"))):
        process, url = await _spawn(tmp_path)
        async with aiohttp.ClientSession() as session:
            for digest, data in acknowledged.items():
                async with session.get(f"{url}/v2/app/blobs/{digest}") as answer:
                    assert await answer.read() == data
            pushes = asyncio.create_task(_push_forever(session, url, round_number, acknowledged))
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            pushes.cancel()
            await asyncio.gather(pushes, return_exceptions=True)
    process, url = await _spawn(tmp_path)
    assert acknowledged
    async with aiohttp.ClientSession() as session:
        for digest, data in acknowledged.items():
            async with session.get(f"{url}/v2/app/blobs/{digest}") as answer:
                assert await answer.read() == data
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    left = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    left += [path for path in (tmp_path / "registry" / "_uploads").rglob("*") if path.is_file()]
    assert left == [], "a graceful stop clears what earlier kills left"


async def _push_forever(session: aiohttp.ClientSession, url: str, seed: int, done: dict[Digest, bytes]) -> None:
    for number in range(1000):
        data = noise(200_000, 1) + noise(30_000, seed * 1000 + number)
        digest = Digest.of(data)
        async with session.post(f"{url}/v2/app/blobs/uploads/") as answer:
            location = answer.headers["Location"]
        async with session.put(f"{url}{location}?digest={digest}", data=data) as answer:
            if answer.status == 201:
                done[digest] = data


async def _spawn(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    script = Path(__file__).with_name("serve_double.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(folder), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    return process, f"http://127.0.0.1:{port}"


def _forget(rig: Rig) -> None:
    """Drops everything that the sidecar has at hand, so that the next pull asks the upstream."""
    corpora = rig.running.sidecar.corpora
    corpora.drop(list(corpora._lengths))


def _corrupt(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)


def _left_behind(rig: Rig) -> list[str]:
    return [path.name for path in (rig.folder / "spool").rglob("*") if path.is_file() and path.name != ".lock"]
