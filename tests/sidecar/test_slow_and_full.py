"""Clients that are slow or leave, and full disks: no file or session is left, and other clients are not affected."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from reducto.config import LimitOptions
from reducto.values import Digest
from tests.sidecar.conftest import OpenRig
from tests.sidecar.samples import real_layer
from tests.sidecar.test_faults import left_behind
from tests.support.requirements import promised, require_root
from tests.support.sidecar_rig import Rig, eager_codec, noise, until

pytestmark = pytest.mark.integration

LAYER = real_layer(1)
SmallDisk = Callable[[Path, int], None]


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """``small_disk(folder, mebibytes)``: mounts a file system of that size at the folder."""
    require_root()
    mounted: list[Path] = []

    def mount(folder: Path, mebibytes: int) -> None:
        folder.mkdir(parents=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            (pytest.fail if promised() else pytest.skip)(f"no tmpfs can be mounted here: {done.stderr}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def check_clean(rig: Rig) -> None:
    """Checks that all sessions and rebuilds end within seconds, and that the spool is empty then."""
    sidecar = rig.running.sidecar

    async def quiet() -> bool:
        left = await asyncio.to_thread(left_behind, rig.folder / "spool")
        return not (left or sidecar.runtime.activity.in_flight or sidecar.busy)

    await until(quiet)


@contextlib.asynccontextmanager
async def slow_reader(rig: Rig, path: str) -> AsyncIterator[None]:
    """A client with small buffers reads the beginning of an answer, then nothing. It disconnects at the block's end."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", rig.running.data_port))
    reader, writer = await asyncio.open_connection(sock=link, limit=4096)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {rig.host}\r\n\r\n".encode())
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 200")
        yield
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_a_client_that_hardly_reads_and_then_leaves(new_rig: OpenRig, warm: bool) -> None:
    rig = await new_rig(codec=eager_codec)
    layer = await asyncio.to_thread(gzip.compress, noise(24 << 20), 1, mtime=0)
    digest = await rig.push_blob("app", layer)
    if warm:
        assert (await rig.get_blob("app", digest)).body == layer
    async with slow_reader(rig, f"/v2/app/blobs/{digest}"):
        async with asyncio.timeout(20):
            assert (await rig.get_blob("app", digest)).body == layer, "another client gets on"
        # A client has the whole answer shortly before the sidecar counts the request as ended.
        await until(lambda: rig.running.sidecar.runtime.activity.in_flight <= 1)
        assert rig.running.sidecar.runtime.activity.in_flight == 1, "the first one still waits"
    await check_clean(rig)
    assert (await rig.get_blob("app", digest)).body == layer


async def test_a_client_that_leaves_in_the_middle_of_a_pull(new_rig: OpenRig) -> None:
    rig = await new_rig()
    digest = await rig.push_blob("app", LAYER)
    for _ in range(3):
        async with slow_reader(rig, f"/v2/app/blobs/{digest}"):
            pass
    await check_clean(rig)
    assert (await rig.get_blob("app", digest)).body == LAYER


async def test_a_client_that_leaves_in_the_middle_of_a_push(new_rig: OpenRig) -> None:
    rig = await new_rig()
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]

    async def half() -> AsyncIterator[bytes]:
        yield LAYER[:100_000]
        raise RuntimeError("gone")

    with contextlib.suppress(aiohttp.ClientError, RuntimeError):
        await rig("PATCH", location, data=half())

    async def arrived() -> bool:
        return (await rig("GET", location)).headers["Range"] == "0-99999"

    await until(arrived)
    put = await rig("PUT", f"{location}?digest={Digest.of(LAYER)}", data=LAYER[100_000:])
    assert put.status == 201, "it may go on"
    assert (await rig.get_blob("app", Digest.of(LAYER))).body == LAYER
    await check_clean(rig)


async def test_a_client_that_sends_too_slowly(new_rig: OpenRig) -> None:
    rig = await new_rig(limits=LimitOptions(drain_timeout=2.0, body_timeout=0.2))
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]

    async def slowly() -> AsyncIterator[bytes]:
        yield LAYER[:1000]
        await asyncio.sleep(5)
        yield LAYER[1000:]

    with contextlib.suppress(aiohttp.ClientError):
        answer = await rig("PATCH", location, data=slowly())
        assert answer.status >= 400
    assert (await rig("GET", location)).headers["Range"] == "0-999", "what came is kept for a while"
    other = await rig.push_blob("app", LAYER)
    assert (await rig.get_blob("app", other)).body == LAYER
    assert (await rig("DELETE", location)).status == 204
    await check_clean(rig)


@pytest.mark.parametrize("pieces", [1, 6], ids=["whole", "in-chunks"])
async def test_a_spool_that_is_full(small_disk: SmallDisk, new_rig: OpenRig, tmp_path: Path, pieces: int) -> None:
    small_disk(tmp_path / "state0" / "spool", 6)
    rig = await new_rig()
    large = noise(12 << 20)
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]
    step = len(large) // pieces
    for at in range(0, len(large), step) if pieces > 1 else ():
        answer = await rig("PATCH", location, data=large[at : at + step])
        if answer.status != 202:
            break
    else:
        answer = await rig("PUT", f"{location}?digest={Digest.of(large)}", data=large)
    assert (answer.status, answer.code) == (507, "UNAVAILABLE")
    assert "Retry-After" in answer.headers
    await check_clean(rig)
    digest = await rig.push_blob("app", LAYER)
    assert (await rig.get_blob("app", digest)).body == LAYER
    await check_clean(rig)


async def test_a_spool_with_space_for_the_original_only(
    small_disk: SmallDisk, new_rig: OpenRig, tmp_path: Path
) -> None:
    """The encoder needs more space than there is, so the layer is stored as it came."""
    small_disk(tmp_path / "state0" / "spool", 3)
    rig = await new_rig()
    digest = await rig.push_blob("app", LAYER)
    assert await rig.metric("reducto_decisions_total", outcome="stored", reason="failed") == 1
    assert (await rig.get_blob("app", digest)).body == LAYER
    await check_clean(rig)


async def test_a_cache_that_is_full(small_disk: SmallDisk, new_rig: OpenRig, tmp_path: Path) -> None:
    small_disk(tmp_path / "state0" / "cache", 1)
    rig = await new_rig()
    layers = [real_layer(version) for version in (1, 2, 3)]
    digests = [await rig.push_blob("app", layer) for layer in layers]
    assert await rig.metric("reducto_decisions_total", outcome="reduced", reason="reduced") == 3
    for _ in range(2):
        for digest, layer in zip(digests, layers, strict=True):
            assert (await rig.get_blob("app", digest)).body == layer
    assert await rig.metric("reducto_rebuild_failures_total") == 0
    await check_clean(rig)


async def test_a_store_that_is_full(small_disk: SmallDisk, new_rig: OpenRig, tmp_path: Path) -> None:
    small_disk(tmp_path / "registry", 4)
    rig = await new_rig(codec=eager_codec)
    digest = await rig.push_blob("app", LAYER)
    large = noise(6 << 20)
    location = (await rig("POST", "/v2/app/blobs/uploads/")).headers["Location"]
    put = await rig("PUT", f"{location}?digest={Digest.of(large)}", data=large)
    assert put.status in (503, 507), (put.status, put.body)
    assert (await rig("HEAD", f"/v2/app/blobs/{Digest.of(large)}")).status == 404
    await check_clean(rig)
    assert await asyncio.to_thread(left_behind, tmp_path / "registry" / "_uploads") == []
    assert (await rig.get_blob("app", digest)).body == LAYER
    following = await rig.push_blob("app", real_layer(2))
    assert (await rig.get_blob("app", following)).body == real_layer(2)
