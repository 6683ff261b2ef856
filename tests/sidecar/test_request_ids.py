"""Every line that a request causes carries its id, whatever thread or task logs it, in a sidecar as users run it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reducto.values import Digest
from tests.sidecar.samples import real_layer, text
from tests.support.sidecar import Sidecar
from tests.support.sidecar_rig import MANIFEST, descriptor, layer_gzip, noise, until

MINE = re.compile(r"[a-z]+-\d+")
SETTINGS = {
    "logging": {"level": "debug", "format": "json"},
    "recompression": {"idle_after": "1h"},
    "spool": {"min_free": 0},
}


class Client:
    """Sends every request with an id of its own: the name of what it belongs to, and a number."""

    def __init__(self, session: aiohttp.ClientSession, sidecar: Sidecar) -> None:
        self._session, self._sidecar = session, sidecar
        self._numbers = itertools.count(1)
        self.sent: list[str] = []

    async def __call__(self, what: str, method: str, path: str, status: int, **more: Any) -> tuple[bytes, Any]:
        self.sent.append(f"{what}-{next(self._numbers)}")
        headers = {"X-Request-Id": self.sent[-1], **more.pop("headers", {})}
        async with self._session.request(method, self._sidecar.url + path, headers=headers, **more) as answer:
            body = await answer.read()
            assert (answer.status, answer.headers["X-Request-Id"]) == (status, self.sent[-1]), body[:300]
            return body, answer.headers

    async def push(self, what: str, *layers: bytes) -> str:
        """Pushes an image of these layers under the tag ``what``; the id of its last request."""
        for blob in (*layers, b"{}"):
            _, headers = await self(what, "POST", "/v2/team/app/blobs/uploads/", 202)
            _, headers = await self(what, "PATCH", headers["Location"], 202, data=io.BytesIO(blob))
            await self(what, "PUT", f"{headers['Location']}?digest={Digest.of(blob)}", 201)
        items = [descriptor(each, "application/vnd.oci.image.layer.v1.tar+gzip") for each in layers]
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(b"{}", "a/b"), "layers": items}
        headers = {"Content-Type": MANIFEST}
        await self(what, "PUT", f"/v2/team/app/manifests/{what}", 201, data=json.dumps(document), headers=headers)
        return self.sent[-1]

    async def pull(self, what: str, *layers: bytes) -> None:
        await self(what, "GET", f"/v2/team/app/manifests/{what}", 200, headers={"Accept": MANIFEST})
        for layer in layers:
            body, _ = await self(what, "GET", f"/v2/team/app/blobs/{Digest.of(layer)}", 200)
            assert body == layer


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Sidecar]]:
    """``serve(name)``: a sidecar over the one embedded store, with caches of its own."""
    running: list[Sidecar] = []

    def start(name: str) -> Sidecar:
        running.append(Sidecar(tmp_path / name, str(tmp_path / "store"), SETTINGS))
        running[-1].daemon.start()
        return running[-1]

    yield start
    for each in running:
        each.daemon.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def lines_of(sidecar: Sidecar) -> list[dict[str, Any]]:
    """The log so far, without what the start and the end of the process say. Each line must be a JSON object."""
    lines = [json.loads(line) for line in sidecar.log.splitlines()]
    started = next(at for at, line in enumerate(lines) if line["event"] == "listening")
    return [line for line in lines[started + 1 :] if line["event"] not in ("draining", "stopped")]


async def check(sidecar: Sidecar, client: Client) -> list[dict[str, Any]]:
    """The lines that the client's requests caused; fails for a line with no id, or with one that nobody sent."""
    await until(lambda: set(client.sent) <= {line["request_id"] for line in named(lines_of(sidecar), "request")})
    lines = lines_of(sidecar)
    assert [line for line in lines if not line.get("request_id")] == []
    mine = [line for line in lines if MINE.fullmatch(line["request_id"])]
    assert {line["request_id"] for line in mine} == set(client.sent)
    others = [line for line in lines if line not in mine]
    assert {(line["event"], line["path"]) for line in others} <= {("request", "/v2/")}, "only the test's own probes"
    for request_id in client.sent:
        assert sum(line["event"] == "request" and line["request_id"] == request_id for line in mine) == 1
    return mine


def named(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


async def test_a_push_and_a_pull(serve: Callable[[str], Sidecar], session: aiohttp.ClientSession) -> None:
    layers = real_layer(1), real_layer(2)
    origin = serve("origin")
    client = Client(session, origin)
    for what, layer in zip(("one", "two"), layers, strict=True):
        await client.push(what, layer)
        (told,) = [
            line for line in named(await check(origin, client), "layer") if line["digest"] == str(Digest.of(layer))
        ]
        assert told["request_id"] == f"{what}-{client.sent.index(told['request_id']) + 1}"
        assert (told["outcome"], type(told["receipt"])) == ("reduced", dict)

    edge = serve("edge")
    client = Client(session, edge)
    for what, layer in zip(("one", "two"), layers, strict=True):
        await client.pull(what, layer)
    await check(edge, client)


async def test_what_workers_and_tasks_log(
    serve: Callable[[str], Sidecar], session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Damage on disk makes the cache, a rebuild and an encoder log in the middle of requests."""
    files = [{f"f{n}": text(300_000, n + version) for n in range(4)} for version in (0, 1, 2)]
    one, two, three = (layer_gzip(each) for each in files)
    origin = serve("origin")
    client = Client(session, origin)
    await client.push("one", one)
    await client.push("two", two)
    await client.pull("one", one)
    cache = origin.folder / "cache"

    cached = cache / "blobs" / "sha256" / Digest.of(one).hex
    os.utime(cached, (1, 1))
    await client.pull("one", one)
    (changed,) = named(await check(origin, client), "cache-file-changed")
    assert changed["request_id"] == client.sent[-1]

    # Corpora that are damaged: the first attempt to rebuild fails, the second fetches them again.
    shutil.rmtree(cache / "blobs")
    for corpus in (cache / "corpora").iterdir():
        data = bytearray(corpus.read_bytes())
        data[len(data) // 2 :] = noise(len(data) - len(data) // 2)
        corpus.write_bytes(data)
    await client.pull("two", two)
    mine = await check(origin, client)
    damaged = named(mine, "rebuild-again") + named(mine, "corpus-file-damaged")
    assert damaged
    assert {line["request_id"] for line in damaged} == {client.sent[-1]}
    assert all(line["trace"].startswith("Traceback") and line["level"] == "error" for line in damaged)

    # A corpus that is gone here and in the store: the encoder's thread says that it does without.
    for folder in (cache / "corpora", tmp_path / "store" / "team/app/_oci/blobs/sha256"):
        for path in folder.iterdir():
            if path.is_file() and path.stat().st_size > 50_000:
                path.unlink()
    await client.push("three", three)
    missing = named(await check(origin, client), "corpus-not-fetched")
    assert missing
    assert {line["request_id"].partition("-")[0] for line in missing} == {"three"}


async def test_a_client_that_leaves_early_is_a_quiet_line(
    serve: Callable[[str], Sidecar], session: aiohttp.ClientSession
) -> None:
    layer = layer_gzip({"noise": noise(8 << 20)})
    sidecar = serve("origin")
    client = Client(session, sidecar)
    await client.push("one", layer)
    _, headers = await client("two", "POST", "/v2/team/app/blobs/uploads/", 202)
    path = headers["Location"].removeprefix(sidecar.url)
    early = [
        f"GET /v2/team/app/blobs/{Digest.of(layer)} HTTP/1.1\r\nX-Request-Id: leaver-1\r\n",
        f"PATCH {path} HTTP/1.1\r\nX-Request-Id: leaver-2\r\nContent-Length: 1000000\r\n",
        f"PUT {path}?digest={Digest.of(layer)} HTTP/1.1\r\nX-Request-Id: leaver-3\r\nContent-Length: 1000000\r\n",
    ]
    for head in early:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the blob does not fit into buffers
        connection.connect((sidecar.host.split(":")[0], int(sidecar.host.split(":")[1])))
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(f"{head}Host: {sidecar.host}\r\n\r\n".encode())
        await asyncio.sleep(0.05)
        if head.startswith("GET"):
            await reader.read(1000)
        else:
            writer.write(b"x" * 1000)
            await asyncio.sleep(0.05)
        writer.transport.abort()
    wanted = {"leaver-1", "leaver-2", "leaver-3"}
    client.sent += sorted(wanted)
    lines = [line for line in await check(sidecar, client) if line["request_id"] in wanted]
    assert {line["level"] for line in lines} == {"info"}
    assert not any("trace" in line for line in lines)
    assert {line["status"] for line in named(lines, "request")} == {499}
    assert {line["request_id"] for line in named(lines, "client-left")} == wanted
    assert all(line["error"] for line in named(lines, "client-left"))
