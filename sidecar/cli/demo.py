"""`reducto demo`: pushes and pulls two versions of an image, and says what was saved. It needs nothing but Python.

The image is real: its layers are this Python's standard library and the packages installed beside it. The second
version differs from the first one like the image of a nightly build: every modification time is new, and 2 % of the
files have changed.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from reducto.cli.console import format_bytes
from reducto.config import CacheOptions, Config, ListenOptions, SpoolOptions, UpstreamOptions
from reducto.oci.client import RegistryClient, RepositoryClient
from reducto.oci.http import HttpOptions, HttpTransport
from reducto.oci.manifest import OCI_MANIFEST
from reducto.oci.names import RepositoryName, Tag
from reducto.oci.transport import Caller
from reducto.values import Descriptor, Digest
from sidecar.serve import start

_LAYER_LIMIT_BYTES = 40 << 20
_REPOSITORY = RepositoryName("demo/app")


async def demo() -> tuple[dict[str, Any], str]:
    """Runs the demonstration. Returns its figures, and the same in words."""
    with tempfile.TemporaryDirectory(prefix="reducto-demo-") as name:
        folder = Path(name)
        config = Config(
            listen=ListenOptions(address="127.0.0.1", data_port=0, control_port=0),
            upstream=UpstreamOptions(url=str(folder / "registry")),
            spool=SpoolOptions(dir=folder / "spool", min_free=0),  # type: ignore[arg-type]
            cache=CacheOptions(dir=folder / "cache"),
        )
        running = await start(config)
        try:
            parts = running.sidecar.runtime
            transport = HttpTransport(HttpOptions(url=f"http://127.0.0.1:{running.data_port}"), parts.offload)
            try:
                repository = RegistryClient(transport, parts.offload).repository(Caller(), _REPOSITORY)
                results = [await _version(repository, parts.metrics, number) for number in (1, 2)]
            finally:
                await transport.close()
        finally:
            await running.stop()
    return {"versions": [dataclasses.asdict(result) for result in results]}, _text(results)


@dataclasses.dataclass(frozen=True, slots=True)
class _Result:
    version: int
    image_bytes: int
    stored_bytes: int
    push_seconds: float
    pull_seconds: float


async def _version(repository: RepositoryClient, metrics: Any, number: int) -> _Result:
    """Pushes and pulls one version of the image. Raises `WrongContent` when a layer comes back changed."""
    layers = [_layer(Path(sysconfig.get_path(which)), number) for which in ("stdlib", "purelib")]
    before = metrics.registry.get_sample_value("reducto_layer_stored_bytes_total") or 0
    started, tag = time.monotonic(), Tag(f"v{number}")
    manifest = await _push(repository, layers, tag)
    pushed = time.monotonic()
    for layer in layers:
        await repository.read_blob(_describe(layer, ""), len(layer))
    found = await repository.manifest(tag)
    if found is None or found.data != manifest:
        raise RuntimeError("the manifest came back changed")
    stored = (metrics.registry.get_sample_value("reducto_layer_stored_bytes_total") or 0) - before
    return _Result(number, sum(map(len, layers)), int(stored), pushed - started, time.monotonic() - pushed)


async def _push(repository: RepositoryClient, layers: list[bytes], tag: Tag) -> bytes:
    """Pushes an image and returns its manifest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"version": str(tag)}}}).encode()
    for blob in [*layers, config]:
        await repository.put_blob(Digest.of(blob), blob)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _describe(config, "application/vnd.oci.image.config.v1+json").to_json(),
        "layers": [_describe(layer, "application/vnd.oci.image.layer.v1.tar+gzip").to_json() for layer in layers],
    }
    manifest = json.dumps(document).encode()
    await repository.put_manifest(tag, manifest, OCI_MANIFEST)
    return manifest


def _describe(blob: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type, Digest.of(blob), len(blob))


def _layer(root: Path, number: int) -> bytes:
    """A gzip layer of up to 40 MiB of the files under ``root``, as they are in version ``number``."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for count, path in enumerate(sorted(root.rglob("*"))):
            if plain.tell() > _LAYER_LIMIT_BYTES:
                break
            if not path.is_file() or path.is_symlink() or "site-packages" in path.relative_to(root).parts:
                continue
            content = path.read_bytes()
            if number > 1 and count % 50 == 0:
                content += f"\n# changed in version {number}\n".encode()
            member = tarfile.TarInfo(str(path.relative_to("/")))
            member.size, member.mtime, member.mode = len(content), 1_700_000_000 + number, 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), 6, mtime=0)


def _text(results: list[_Result]) -> str:
    lines = []
    for result in results:
        share = result.stored_bytes / result.image_bytes
        lines.append(
            f"version {result.version}: {format_bytes(result.image_bytes)} pushed in {result.push_seconds:.1f} s, "
            f"{format_bytes(result.stored_bytes)} stored ({share:.1%}); pulled back bit for bit in "
            f"{result.pull_seconds:.1f} s"
        )
    total, stored = sum(r.image_bytes for r in results), sum(r.stored_bytes for r in results)
    return "\n".join([*lines, f"together: {format_bytes(total)} in {format_bytes(stored)}"])
