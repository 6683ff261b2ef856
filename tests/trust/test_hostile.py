"""Hostile traffic on a sidecar in a process of its own: it refuses, stays small, and serves others meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.trust.sidecars import MANIFEST_TYPE, layer_of, words

SERVER = """
import asyncio, json, pathlib, sys
from reducto.config import load
from sidecar.runtime.process import raise_file_limit
from sidecar.serve import start
async def main():
    raise_file_limit()
    running = await start(load(pathlib.Path(sys.argv[1]), environment={}).config)
    print(running.data_port, running.control_port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await running.stop()
asyncio.run(main())
"""
HOST = b"Host: x\r\n"
PATIENCE = aiohttp.ClientTimeout(total=60)


class Server:
    """The process, its ports, and how much memory it holds."""

    def __init__(self, folder: Path, **limits: object) -> None:
        config = {
            "upstream": {"url": str(folder / "store")},
            "listen": {"address": "127.0.0.1", "data_port": 0, "control_port": 0},
            "spool": {"dir": str(folder / "spool"), "min_free": "0B"},
            "cache": {"dir": str(folder / "cache")},
            "limits": {"header_timeout": "3s", "body_timeout": "3s", **limits},
            "logging": {"level": "error"},
        }
        path = folder / "sidecar.yaml"
        path.write_text(json.dumps(config))
        self.folder = folder
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        self.data_port, self.control_port = map(int, self.process.stdout.readline().split())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.data_port}"

    def memory_mib(self) -> float:
        """Resident anonymous memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no RssAnon")

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.process.communicate(b"", timeout=20)
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


async def say(port: int, *pieces: bytes, pause_seconds: float = 0.0, patience_seconds: float = 20.0) -> bytes:
    """Everything that the server answers to these bytes until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)
        return await asyncio.wait_for(reader.read(65536), patience_seconds)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.") else 0


async def healthy(server: Server) -> None:
    """An honest client pushes and pulls an image's layer."""
    data = layer_of({"honest": words(random.randrange(1 << 30), 30_000)})
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        async with session.post(f"{server.url}/v2/honest/app/blobs/uploads/") as answer:
            assert answer.status == 202, await answer.text()
            location = answer.headers["Location"]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        async with session.put(server.url + location, params={"digest": digest}, data=data) as answer:
            assert answer.status == 201
        async with session.get(f"{server.url}/v2/honest/app/blobs/{digest}") as answer:
            assert (answer.status, await answer.read()) == (200, data)


async def begin_upload(server: Server) -> bytes:
    """The path of a fresh upload session."""
    head = b"POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    lines = (await say(server.data_port, head)).split(b"\r\n")
    return next(line.split()[1] for line in lines if line.lower().startswith(b"location:"))


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    b"GET /v2/" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked, identity\r\n\r\n",
    b"\xff" * 4096,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
async def test_malformed_requests_are_refused(server: Server, number: int) -> None:
    answer = await say(server.data_port, MALFORMED[number])
    assert status_of(answer) in (0, 400, 404, 431, 501, 505), answer[:200]
    await healthy(server)


BROKEN_CHUNKS = [b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"f" * 18 + b"\r\n", b"5\r\nhel"]


@pytest.mark.parametrize("body", [*BROKEN_CHUNKS, b"5\r\nhelloX0\r\n\r\n"])
async def test_malformed_chunked_bodies_are_refused(server: Server, body: bytes) -> None:
    location = await begin_upload(server)
    head = b"PATCH " + location + b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await say(server.data_port, head, body)
    assert status_of(answer) in (0, 400, 499), answer[:200]
    await healthy(server)


async def test_random_bytes_do_no_harm(server: Server) -> None:
    rng = random.Random(7)
    put = b"PUT /v2/a/manifests/b HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}\n"
    seeds = [b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", put, *MALFORMED[:6]]

    async def attack() -> None:
        for _ in range(20):
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with contextlib.suppress(TimeoutError):  # it waits for more: that is fine
                answer = await say(server.data_port, bytes(data) + b"\r\n\r\n", patience_seconds=0.5)
                assert status_of(answer) < 500 or status_of(answer) in (501, 505), (bytes(data), answer[:200])

    await asyncio.gather(*(attack() for _ in range(10)))
    await healthy(server)


async def test_oversized_bodies_are_cut_off(tmp_path: Path) -> None:
    server = Server(tmp_path, blob_size="1MiB", manifest_size="64KiB")
    try:
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            for declared in (True, False):
                async with session.post(f"{server.url}/v2/a/b/blobs/uploads/") as answer:
                    location = answer.headers["Location"]
                data = io.BytesIO(bytes(3 << 20)) if declared else endless(64 << 20)
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.patch(server.url + location, data=data) as answer:
                        assert answer.status == 413
            with contextlib.suppress(aiohttp.ClientError):
                async with session.put(f"{server.url}/v2/a/b/manifests/x", data=io.BytesIO(bytes(1 << 20))) as answer:
                    assert answer.status == 413
            with contextlib.suppress(aiohttp.ClientError):
                async with session.put(f"{server.url}/v2/a/b/manifests/x", data=endless(64 << 20)) as answer:
                    assert answer.status == 413
        spooled = sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*") if path.is_file())
        assert spooled < 8 << 20
        await healthy(server)
    finally:
        server.stop()


UPLOADS = b"POST /v2/a/b/blobs/uploads/"
OVERSIZED = {
    "query": b"GET /v2/a/b/tags/list?n=" + b"9" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "page size": b"GET /v2/a/b/tags/list?n=" + b"9" * 4000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "digest": UPLOADS + b"?digest=sha256:" + b"0" * 8000 + b" HTTP/1.1\r\nContent-Length: 0\r\n" + HOST + b"\r\n",
    "mount": UPLOADS + b"?mount=sha256:" + b"0" * 64 + b"&from=" + b"a/" * 4000 + b"a HTTP/1.1\r\n" + HOST + b"\r\n",
    "repository": b"GET /v2/" + b"a" * 300 + b"/manifests/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "tag": b"GET /v2/a/b/manifests/" + b"x" * 129 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "range": b"GET /v2/a/b/blobs/sha256:"
    + b"0" * 64
    + b" HTTP/1.1\r\n"
    + HOST
    + b"Range: bytes="
    + b"0-1," * 3500
    + b"\r\n\r\n",
    "length": b"PUT /v2/a/b/manifests/x HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n",
    "chunk": b"PUT /v2/a/b/manifests/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 200_000,
    "chunk extension": b"PUT /v2/a/b/manifests/x HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n1;"
    + b"x" * 200_000,
    "credentials": b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + b"x" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", OVERSIZED)
async def test_oversized_parts_of_requests_are_refused(server: Server, what: str) -> None:
    before = server.memory_mib()
    answer = await say(server.data_port, OVERSIZED[what])
    assert status_of(answer) in (0, 202, 400, 404, 413, 414, 416, 431), answer[:200]
    assert status_of(answer) != 202 or what == "mount", "a mount that cannot be is an upload"
    assert server.memory_mib() - before < 32
    await healthy(server)
    assert b"xxxxxxxx" not in server.log.read_bytes()
    assert b"11111111" not in server.log.read_bytes(), "what strangers send is not for the log"


def manifest_of(layers: int) -> bytes:
    """A manifest of that many layers, none of which exists."""
    names = [{"mediaType": "x", "size": 1, "digest": f"sha256:{number:064x}"} for number in range(layers)]
    config = {"mediaType": "x", "size": 2, "digest": "sha256:" + "e" * 64}
    document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": names}
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "body",
    [manifest_of(4000), manifest_of(38_000), b"[" * 4_000_000, b'{"a":' * 500_000, b"\xff" * 4_000_000],
    # The test's name goes into the environment of the processes that it starts.
    ids=["4000-layers", "38000-layers", "lists", "objects", "no-json"],
)
async def test_oversized_manifests_cost_little(server: Server, body: bytes) -> None:
    before, began = server.memory_mib(), time.monotonic()
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        headers = {"Content-Type": MANIFEST_TYPE}
        data = io.BytesIO(body)
        async with session.put(f"{server.url}/v2/a/b/manifests/x", data=data, headers=headers) as answer:
            assert answer.status in (400, 404, 413), await answer.text()
    assert time.monotonic() - began < 10
    assert server.memory_mib() - before < 64
    await healthy(server)


async def endless(limit_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(limit_bytes >> 16):
        yield bytes(1 << 16)


async def test_a_gzip_bomb_as_a_request_body_is_not_opened(server: Server) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    before = server.memory_mib()
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        with contextlib.suppress(aiohttp.ClientError):
            async with session.put(f"{server.url}/v2/a/b/manifests/x", data=bomb, headers=headers) as answer:
                assert answer.status in (400, 413)
    assert server.memory_mib() - before < 64
    await healthy(server)


async def test_upload_sessions_are_limited(tmp_path: Path) -> None:
    server, answers = Server(tmp_path, upload_sessions=20), []
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        for _ in range(25):
            async with session.post(f"{server.url}/v2/a/b/blobs/uploads/") as answer:
                answers.append((answer.status, answer.headers.get("Retry-After")))
    server.stop()
    assert [status for status, _ in answers] == [202] * 20 + [429] * 5
    assert answers[-1][1] is not None


@pytest.mark.slow
async def test_slow_heads_are_closed_and_honest_clients_served(server: Server) -> None:
    stop = time.monotonic() + 12

    async def slowloris() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.data_port)
        began = time.monotonic()
        try:
            writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
            while time.monotonic() < stop:
                writer.write(b"X-a: b\r\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(100), 0.5):
                        break
        except ConnectionError:
            pass
        writer.close()
        return time.monotonic() - began

    attackers = [asyncio.create_task(slowloris()) for _ in range(300)]
    await asyncio.sleep(0.5)
    await healthy(server)
    lasted = await asyncio.gather(*attackers)
    assert max(lasted) < 9, "header_timeout is 3 s, looked at every second, on a busy machine"


async def test_slow_bodies_are_dropped(server: Server) -> None:
    location = await begin_upload(server)
    began = time.monotonic()
    head = b"PATCH " + location + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\nabc"
    answer = await say(server.data_port, head, patience_seconds=30)
    assert status_of(answer) in (0, 408, 499)
    assert 2 < time.monotonic() - began < 12
    await healthy(server)


@pytest.mark.slow
async def test_ten_thousand_idle_connections(tmp_path: Path) -> None:
    """Half of them say nothing, half a part of a request. Memory stays, and honest clients are served."""
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 500:
        pytest.skip(f"{hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(tmp_path, header_timeout="120s", connections=20_000)
    writers: list[asyncio.StreamWriter] = []
    try:
        await healthy(server)
        before = server.memory_mib()
        for start in range(0, count, 200):
            for number, (_, writer) in enumerate(
                await asyncio.gather(*(connect(server.data_port, start + n) for n in range(200)))
            ):
                writers.append(writer)
                if number % 2:
                    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ")
        await asyncio.sleep(1)
        began = time.monotonic()
        await healthy(server)
        seconds, grown = time.monotonic() - began, server.memory_mib() - before
        print(f"10,000 connections: {grown:.0f} MiB more, an honest push and pull in {seconds:.2f} s")
        assert open_sockets(server.process.pid) > count
        assert grown < 256
        assert seconds < 10
    finally:
        for writer in writers:
            writer.transport.abort()
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect(port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from one of several local addresses, so that ports do not run out."""
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{2 + number % 50}", 0))


def open_sockets(pid: int) -> int:
    links = (Path(f"/proc/{pid}/fd") / name for name in os.listdir(f"/proc/{pid}/fd"))
    return sum(os.readlink(link).startswith("socket:") for link in links if link.is_symlink())


async def test_too_many_connections_cost_the_idle_ones(tmp_path: Path) -> None:
    server = Server(tmp_path, header_timeout="60s", connections=50)
    try:
        idle = [await asyncio.open_connection("127.0.0.1", server.data_port) for _ in range(200)]
        await healthy(server)
        closed = 0
        for reader, _ in idle:
            with contextlib.suppress(TimeoutError, ConnectionError):
                closed += await asyncio.wait_for(reader.read(1), 0.02) == b""
                continue
        assert closed >= 100 or sum(reader.at_eof() for reader, _ in idle) >= 100
        for _, writer in idle:
            writer.transport.abort()
    finally:
        server.stop()
