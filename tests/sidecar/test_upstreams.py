"""One suite for every upstream: the embedded store and real registries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from reducto.config import UpstreamOptions
from reducto.oci.client import RegistryClient
from reducto.oci.http import HttpTransport
from reducto.oci.names import RepositoryName, Tag
from reducto.oci.transport import Caller, RegistryRequest, Transport
from reducto.values import Descriptor, Digest
from sidecar.cache.partial_download import PartialDownload
from sidecar.embedded.store import EmbeddedUpstream
from sidecar.runtime.offload import Offload
from sidecar.runtime.upstream import http_options
from tests.support.fixtures import StartRegistry
from tests.support.sidecar_rig import MANIFEST, descriptor, noise

APP, OTHER, WHO = RepositoryName("team/app"), RepositoryName("other"), Caller()


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("docker-registry", marks=pytest.mark.integration),
        pytest.param("distribution", marks=pytest.mark.integration),
        pytest.param("zot", marks=pytest.mark.integration),
    ]
)
async def client(
    request: pytest.FixtureRequest, start_registry: StartRegistry, tmp_path: Path
) -> AsyncIterator[RegistryClient]:
    offload = Offload(2)
    upstream: Transport
    if request.param == "embedded":
        upstream = await offload.io(EmbeddedUpstream, tmp_path / "store", offload)
    else:
        registry = await asyncio.to_thread(start_registry, request.param)
        upstream = HttpTransport(http_options(UpstreamOptions(url=registry.url)), offload)
    yield RegistryClient(upstream, offload)
    await upstream.close()
    await asyncio.to_thread(offload.close)


async def test_blobs(client: RegistryClient, tmp_path: Path) -> None:
    data = noise(3_000_000)
    digest = Digest.of(data)
    blob = Descriptor("application/octet-stream", digest, len(data))
    assert not await client.repository(WHO, APP).has_blob(digest)
    await client.repository(WHO, APP).put_blob(digest, data)
    assert await client.repository(WHO, APP).has_blob(digest)
    await client.repository(WHO, APP).save_blob(blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    file = tmp_path / "file"
    file.write_bytes(data[:1000])
    await client.repository(WHO, APP).put_blob(Digest.of(data[:1000]), file)
    assert (
        await client.repository(WHO, APP).read_blob(Descriptor("", Digest.of(data[:1000]), 1000), 1000) == data[:1000]
    )


class NotedDownload(PartialDownload):
    """Notes the progress that is reported to readers."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.lengths: list[int] = []

    async def advance(self, length: int) -> None:
        self.lengths.append(length)
        await super().advance(length)


async def test_a_slow_links_short_pieces_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, short = noise(1_024_000), 2048
    # This is many times longer than a piece needs, also on a busy machine.
    monkeypatch.setattr("reducto.oci.client._REST_SECONDS", 0.05)

    async def dribble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        for at in range(0, len(data), short):
            await response.write(data[at : at + short])
            await asyncio.sleep(0.001)
        return response

    app = web.Application()
    app.router.add_get("/v2/{rest:.*}", dribble)
    offload = Offload(2)
    async with TestServer(app) as server:
        upstream = HttpTransport(http_options(UpstreamOptions(url=str(server.make_url("/")))), offload)
        download = NotedDownload()
        blob = Descriptor("application/octet-stream", Digest.of(data), len(data))
        client = RegistryClient(upstream, offload)
        await client.repository(WHO, APP).save_blob(blob, tmp_path / "copy", download)
        await upstream.close()
    await asyncio.to_thread(offload.close)
    assert (tmp_path / "copy").read_bytes() == data
    assert sorted(download.lengths) == download.lengths
    assert download.lengths[-1] == len(data)
    assert len(download.lengths) < len(data) // short * 2 / 3


async def test_a_range_is_answered_in_part(client: RegistryClient) -> None:
    data = noise(10_000)
    await client.repository(WHO, APP).put_blob(Digest.of(data), data)
    request = RegistryRequest("GET", f"/v2/{APP}/blobs/{Digest.of(data)}", WHO, {"Range": "bytes=100-199"})
    async with await client.transport.send(request) as answer:
        assert (answer.status, await answer.read(1000)) == (206, data[100:200])


async def test_mounts(client: RegistryClient) -> None:
    data = noise(5000)
    digest = Digest.of(data)
    await client.repository(WHO, APP).put_blob(digest, data)
    location = await client.repository(WHO, OTHER).mount_blob(digest, APP)
    if location is not None:  # A registry may decline and open a session instead, as zot does without its cache.
        await client.repository(WHO, OTHER).put_blob(digest, data, location)
    assert await client.repository(WHO, OTHER).has_blob(digest)
    missing = Digest.of(b"missing")
    location = await client.repository(WHO, OTHER).mount_blob(missing, APP)
    assert location is not None
    await client.repository(WHO, OTHER).put_blob(missing, b"missing", location)


async def test_manifests_and_tags(client: RegistryClient) -> None:
    config = b"{}"
    await client.repository(WHO, APP).put_blob(Digest.of(config), config)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x.test",
        "config": descriptor(config, "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "annotations": {"io.reducto.x": "y" * 1000},
    }
    data = json.dumps(document).encode()
    digest = Digest.of(data)
    for tag in ("b", "a", "reducto-sha256-" + "0" * 64):
        await client.repository(WHO, APP).put_manifest(Tag(tag), data, MANIFEST)
    for reference in (Tag("a"), digest):
        found = await client.repository(WHO, APP).manifest(reference)
        assert found is not None
        assert (found.data, found.media_type, found.digest) == (data, MANIFEST, digest)
        assert await client.repository(WHO, APP).shows(reference)
    # docker-registry 2.8 lists in no order.
    assert sorted([tag async for tag in client.repository(WHO, APP).tags()]) == ["a", "b", "reducto-sha256-" + "0" * 64]
    assert [name async for name in client.repositories(WHO)] == ["team/app"]
    assert await client.repository(WHO, APP).manifest(Tag("missing")) is None
    assert await client.repository(WHO, APP).delete_manifest(digest)
    assert await client.repository(WHO, APP).manifest(digest) is None
    assert await client.repository(WHO, APP).manifest(Tag("a")) is None


async def test_what_is_not_there(client: RegistryClient) -> None:
    assert await client.repository(WHO, RepositoryName("nothing/here")).manifest(Tag("x")) is None
    assert [tag async for tag in client.repository(WHO, RepositoryName("nothing/here")).tags()] == []
    assert not await client.repository(WHO, APP).delete_manifest(Digest.of(b"nothing"))


async def test_an_upload_to_the_embedded_store_ends_once(tmp_path: Path) -> None:
    offload = Offload(2)
    upstream = await offload.io(EmbeddedUpstream, tmp_path / "store", offload)
    client = RegistryClient(upstream, offload)
    location = await client.repository(WHO, APP).open_upload()

    async def finish(data: bytes) -> int:
        request = RegistryRequest("PUT", f"{location}?digest={Digest.of(data)}", WHO, body=data)
        async with await upstream.send(request) as answer:
            return answer.status

    assert await asyncio.gather(finish(b"first"), finish(b"second")) == [201, 404]
    assert await client.repository(WHO, APP).has_blob(Digest.of(b"first"))
    assert not await client.repository(WHO, APP).has_blob(Digest.of(b"second"))
    await upstream.close()
    await asyncio.to_thread(offload.close)
