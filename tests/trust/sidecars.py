"""A real sidecar on the embedded store, in this process, with whatever trust settings a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from reducto.config import Config, load
from sidecar.serve import Running, start

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def config_of(folder: Path, upstream: Path | str, security: dict[str, Any] | None = None, **more: Any) -> Config:
    """A configuration whose files all lie in ``folder``."""
    document = {
        "upstream": {"url": str(upstream)},
        "listen": {"address": "127.0.0.1", "data_port": 0, "control_port": 0, **more.pop("listen", {})},
        "spool": {"dir": str(folder / "spool"), "min_free": "0B"},
        "cache": {"dir": str(folder / "cache")},
        "gate": {"min_blob_size": "1KiB"},
        "security": security or {},
        **more,
    }
    path = folder / "sidecar.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return load(path, environment={}).config


@dataclass
class Client:
    """What a registry client does, in a few words."""

    running: Running
    session: aiohttp.ClientSession

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.running.data_port}"

    async def push_blob(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        async with self.session.post(f"{self.base}/v2/{repository}/blobs/uploads/") as answer:
            assert answer.status == 202, await answer.text()
            location = answer.headers["Location"]
        url = location if location.startswith("http") else self.base + location
        async with self.session.put(url, params={"digest": digest}, data=data) as answer:
            assert answer.status == 201, await answer.text()
        return digest

    async def push_image(self, repository: str, tag: str, *layers: bytes) -> tuple[str, bytes]:
        """Pushes an image of these layers; gives its digest and manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
        items = []
        for data in (config, *layers):
            items.append({"mediaType": "application/octet-stream", "size": len(data)})
            items[-1]["digest"] = await self.push_blob(repository, data)
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": items[0], "layers": items[1:]}
        ).encode()
        url = f"{self.base}/v2/{repository}/manifests/{tag}"
        async with self.session.put(url, data=manifest, headers={"Content-Type": MANIFEST_TYPE}) as answer:
            assert answer.status == 201, await answer.text()
        return f"sha256:{hashlib.sha256(manifest).hexdigest()}", manifest

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body; a broken connection is status 0."""
        try:
            async with self.session.get(self.base + path, headers=headers) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientError:
            return 0, b""


@contextlib.asynccontextmanager
async def sidecar(config: Config, **options: Any) -> AsyncIterator[Client]:
    """A running sidecar and a client of it."""
    running = await start(config, **options)
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield Client(running, session)
    finally:
        await running.stop()


def layer_of(files: dict[str, bytes]) -> bytes:
    """A tar layer of these files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return tar.getvalue()


def words(seed: int, length: int) -> bytes:
    """Text that compresses like text, always the same for a seed."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(2000)]
    out = " ".join(rng.choices(vocabulary, k=length // 5))
    return out.encode()[:length].ljust(length, b".")
