"""Layers of images in registries. Each is downloaded when it is first read, and kept until the build ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus_builder.oci_layout import LayerDescriptor, blob_path, layers_of
from corpus_builder.sources import BlobSource
from reducto.fetch.reference import Reference
from reducto.fetch.registry import Registry
from reducto.values import Digest


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A layer in a registry, as a `PlainSource`. It is downloaded into ``spool_dir`` when it is first read."""

    registry: Registry
    digest: Digest
    size: int
    spool_dir: Path
    label: str
    weight: int = 1

    @property
    def name(self) -> str:
        return f"{self.label} {self.digest}"

    @property
    def identity(self) -> str:
        return f"blob:{self.digest}"

    def pieces(self) -> Iterator[bytes]:
        path = blob_path(self.spool_dir, self.digest)
        if not path.exists():
            self.registry.download(self.digest, self.size, path)
        return BlobSource(path, self.digest, self.label).pieces()

    def anchors(self) -> Iterator[int]:
        return iter(())


def image_layers(registry: Registry, spool_dir: Path, platforms: frozenset[str]) -> list[RemoteLayer]:
    """The layers of the image that ``registry.reference`` names, each once.

    ``platforms`` (such as ``linux/amd64``) chooses from an image of several platforms; an empty set means all.
    Raises what `Registry.manifest` raises.
    """
    reference: Reference = registry.reference

    def load(digest: Digest) -> dict[str, Any]:
        return registry.manifest(str(digest))[0]

    def wanted(entry: dict[str, Any]) -> bool:
        platform = entry.get("platform")
        if not isinstance(platform, dict):
            return True
        if platform.get("os") == "unknown":  # buildkit gives this platform to attestations, which hold no layers
            return False
        spelled = f"{platform.get('os')}/{platform.get('architecture')}"
        variant = platform.get("variant")
        return not platforms or spelled in platforms or f"{spelled}/{variant}" in platforms

    layers: list[LayerDescriptor] = layers_of([registry.manifest()[0]], load, wanted)
    return [RemoteLayer(registry, x.digest, x.size, spool_dir, str(reference), x.images) for x in layers]
