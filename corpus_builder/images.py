"""Layers of images in registries, fetched when they are wanted and kept while a build lasts."""

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
    """A layer in a registry; a `PlainSource`. Fetched into ``spool_dir`` at the first reading."""

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
    """The layers of the image that ``registry.reference`` names, of those ``platforms`` (``linux/amd64``; empty: all).

    Raises what `Registry.manifest` raises.
    """
    reference: Reference = registry.reference

    def load(digest: Digest) -> dict[str, Any]:
        return registry.manifest(str(digest))[0]

    def wanted(entry: dict[str, Any]) -> bool:
        platform = entry.get("platform")
        if not isinstance(platform, dict):
            return True
        if platform.get("os") == "unknown":  # buildkit's attestations
            return False
        spelled = f"{platform.get('os')}/{platform.get('architecture')}"
        variant = platform.get("variant")
        return not platforms or spelled in platforms or f"{spelled}/{variant}" in platforms

    layers: list[LayerDescriptor] = layers_of([registry.manifest()[0]], load, wanted)
    return [RemoteLayer(registry, x.digest, x.size, spool_dir, str(reference), x.images) for x in layers]
