"""Layers of images in registries. Each is downloaded when it is first read, and kept until the build ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus_builder.oci_layout import blob_path, layers_of, parse_manifest
from corpus_builder.sources import BlobSource
from reducto.fetch.blocking import BlockingRepository
from reducto.oci.manifest import Manifest, Platform
from reducto.values import Descriptor, Digest


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A layer in a registry, as a `PlainSource`. It is downloaded into ``spool_dir`` when it is first read."""

    repository: BlockingRepository
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
            self.repository.download(Descriptor("", self.digest, self.size), path)
        return BlobSource(path, self.digest, self.label).pieces()

    def anchors(self) -> Iterator[int]:
        return iter(())


def image_layers(repository: BlockingRepository, spool_dir: Path, platforms: frozenset[str]) -> list[RemoteLayer]:
    """The layers of the image that ``repository.address`` names, each once.

    ``platforms`` (such as ``linux/amd64``) chooses from an image of several platforms; an empty set means all.
    Raises what `BlockingRepository.manifest` raises.
    """

    def load(digest: Digest) -> Manifest:
        return parse_manifest(repository.manifest(digest).data, f"{repository.address}: {digest}")

    def wanted(platform: Platform | None) -> bool:
        if platform is None:
            return True
        if platform.os == "unknown":  # buildkit gives this platform to attestations, which hold no layers
            return False
        spelled = f"{platform.os}/{platform.architecture}"
        return not platforms or spelled in platforms or f"{spelled}/{platform.variant}" in platforms

    label = str(repository.address)
    manifest = parse_manifest(repository.manifest().data, label)
    layers = layers_of(manifest, load, wanted)
    return [RemoteLayer(repository, x.digest, x.size, spool_dir, label, x.images) for x in layers]
