"""Runs a sidecar in this process on free ports, with a small registry client that gives tests every header."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import math
import random
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from reducto.config import (
    CacheOptions,
    CompressionOptions,
    Config,
    DedupeOptions,
    EncryptionOptions,
    GateOptions,
    LimitOptions,
    ListenOptions,
    Policy,
    Role,
    Scope,
    SecurityOptions,
    SpoolOptions,
    UpstreamOptions,
)
from reducto.oci.names import RepositoryName
from reducto.oci.transport import Caller
from reducto.values import Digest
from sidecar.app import MakeCodec, reducto_codec
from sidecar.codec.adapter import ReductoCodec
from sidecar.records.repository import Repository
from sidecar.runtime.offload import Offload
from sidecar.serve import Running, start

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def eager_codec(config: Config, offload: Offload, scratch: Path) -> ReductoCodec:
    """The real codec with its gate off and no least gain, so that it reduces every blob."""
    codec = ReductoCodec(config, offload.submit, scratch)
    codec.options = replace(codec.options, gate=False, minimum_gain=-math.inf)
    return codec


def make_config(
    folder: Path,
    upstream: str | Path,
    *,
    limits: LimitOptions | None = None,
    scope: Scope = Scope.REPOSITORY,
    policy: Policy = Policy.REPLACE,
    role: Role = Role.ORIGIN,
    enabled: bool = True,
    cache_bytes: int = 1 << 30,
    retries: int = 2,
    min_blob_bytes: int = 4096,
    read_timeout: float = 10.0,
    workers: int = 0,
    corpora: tuple[str, ...] = (),
    encryption_keys: tuple[str, ...] = (),
) -> Config:
    return Config(
        security=SecurityOptions(encryption=EncryptionOptions(keys=encryption_keys)),
        corpora=corpora,
        enabled=enabled,
        role=role,
        policy=policy,
        listen=ListenOptions(address="127.0.0.1", data_port=0, control_port=0),
        upstream=UpstreamOptions(url=str(upstream), retries=retries, read_timeout=read_timeout),
        dedupe=DedupeOptions(scope=scope),
        spool=SpoolOptions(dir=folder / "spool", min_free=0),
        cache=CacheOptions(dir=folder / "cache", max_size=cache_bytes),
        gate=GateOptions(min_blob_size=min_blob_bytes),
        compression=CompressionOptions(workers=workers),
        limits=limits or LimitOptions(drain_timeout=2.0),
    )


@dataclass
class Answer:
    """A response that was read to its end."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The first error code in an error response."""
        return str(self.json["errors"][0]["code"])


@dataclass
class Rig:
    """A running sidecar and a client session for it."""

    running: Running
    session: aiohttp.ClientSession
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.data_port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.running.data_port}"

    async def __call__(self, method: str, path: str, **more: Any) -> Answer:
        headers = {**self.headers, **more.pop("headers", {})}
        if isinstance(data := more.get("data"), bytes) and len(data) > 1 << 20:
            more["data"] = io.BytesIO(data)
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def control(self, path: str) -> Answer:
        return await self("GET", f"http://127.0.0.1:{self.running.control_port}{path}")

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of the sidecar's metrics; 0 if there is none."""
        value = self.running.sidecar.runtime.metrics.registry.get_sample_value(name, labels)
        return 0.0 if value is None else value

    def repository(self, name: str) -> Repository:
        """The repository as a caller without credentials sees it behind the sidecar."""
        return self.running.sidecar.upstream.repositories.bind(Caller(), RepositoryName.parse(name))

    async def push_blob(self, repository: str, data: bytes, pieces: int = 1) -> Digest:
        """Pushes a blob as clients do, by POST, several PATCH and PUT."""
        digest = Digest.of(data)
        answer = await self("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, (answer.status, answer.body)
        location = answer.headers["Location"]
        step = max(1, -(-len(data) // pieces))
        for at in range(0, len(data), step) if pieces > 1 else ():
            piece = data[at : at + step]
            span = f"{at}-{at + len(piece) - 1}"
            answer = await self("PATCH", location, data=piece, headers={"Content-Range": span})
            assert answer.status == 202, (answer.status, answer.body)
            location = answer.headers["Location"]
        rest = b"" if pieces > 1 else data
        answer = await self("PUT", f"{location}?digest={digest}", data=rest)
        assert answer.status == 201, (answer.status, answer.body)
        assert answer.headers["Docker-Content-Digest"] == str(digest)
        return digest

    async def push_image(self, repository: str, tag: str, layers: list[bytes], **more: Any) -> tuple[Digest, bytes]:
        """Pushes an image of these layers, and returns its manifest's digest and bytes."""
        digests = [await self.push_blob(repository, layer) for layer in layers]
        config = json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()
        await self.push_blob(repository, config)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": str(d), "size": len(layer)}
                for d, layer in zip(digests, layers, strict=True)
            ],
            **more,
        }
        data = json.dumps(document, indent=3).encode()
        answer = await self.put_manifest(repository, tag, data)
        assert answer.status == 201, (answer.status, answer.body)
        return Digest.of(data), data

    async def put_manifest(self, repository: str, reference: str, data: bytes, kind: str = MANIFEST) -> Answer:
        return await self("PUT", f"/v2/{repository}/manifests/{reference}", data=data, headers={"Content-Type": kind})

    async def get_blob(self, repository: str, digest: Digest, **more: Any) -> Answer:
        return await self("GET", f"/v2/{repository}/blobs/{digest}", **more)

    async def tags(self, repository: str) -> list[str]:
        answer = await self("GET", f"/v2/{repository}/tags/list")
        return list(answer.json["tags"] or [])

    async def close(self) -> None:
        await self.session.close()
        await self.running.stop()


async def open_rig(folder: Path, config: Config, make_codec: MakeCodec = reducto_codec, **more: Any) -> Rig:
    """Starts a sidecar on free ports. The caller awaits `Rig.close`."""
    running = await start(config, make_codec, **more)
    connector = aiohttp.TCPConnector(limit=0)
    return Rig(running, aiohttp.ClientSession(connector=connector, auto_decompress=False), folder)


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def noise(length: int, seed: int = 0) -> bytes:
    """Bytes that do not compress. The same seed gives the same bytes."""
    return random.Random(seed).randbytes(length)


def layer_tar(files: dict[str, bytes], mtime: int = 1) -> bytes:
    """A tar of these files, as the plain bytes of a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def layer_gzip(files: dict[str, bytes], mtime: int = 1) -> bytes:
    """A layer of these files, compressed by zlib at its default level."""
    return gzip.compress(layer_tar(files, mtime), 6, mtime=0)


async def until(check: Callable[[], bool | Awaitable[bool]], seconds: float = 20.0) -> None:
    """Returns as soon as ``check`` is true. Raises `TimeoutError` after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not (await found if isinstance(found := check(), Awaitable) else found):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
