"""Layers of an OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reducto.errors import Corrupt, ReductoError
from reducto.oci.manifest import Manifest, Platform
from reducto.oci.registry_errors import ManifestInvalid
from reducto.values import Digest

_DOCUMENT_LIMIT_BYTES = 4 << 20
_DEPTH_LIMIT = 4


@dataclass(frozen=True, slots=True)
class LayerDescriptor:
    """A layer as manifests name it, and the number of images that have it."""

    digest: Digest
    size: int
    images: int


@dataclass(frozen=True, slots=True)
class LayoutLayer:
    """A layer in a layout, the path of its blob, and the number of images that have it."""

    path: Path
    digest: Digest
    images: int


def is_oci_layout(path: Path) -> bool:
    """Whether the directory holds the two files that every OCI image layout has."""
    return (path / "oci-layout").is_file() and (path / "index.json").is_file()


def layout_layers(root: Path) -> Iterator[LayoutLayer]:
    """Every layer of every image in a layout, each once, in the order in which images name them. Raises `Corrupt`."""

    def load(digest: Digest) -> Manifest:
        path = blob_path(root, digest)
        content = _read(path)
        if Digest.of(content, digest.algorithm) != digest:
            raise Corrupt(f"{path}: the content has another digest")
        return parse_manifest(content, str(path))

    index = parse_manifest(_read(root / "index.json"), str(root / "index.json"))
    for layer in layers_of(index, load):
        yield LayoutLayer(blob_path(root, layer.digest), layer.digest, layer.images)


def blob_path(root: Path, digest: Digest) -> Path:
    """The path of a blob in a layout."""
    return root / "blobs" / digest.algorithm / digest.hex


def layers_of(
    manifest: Manifest,
    load: Callable[[Digest], Manifest],
    wanted: Callable[[Platform | None], bool] = lambda _: True,
) -> list[LayerDescriptor]:
    """The layers of an image, or of all images that an index names, each once.

    ``load`` returns the manifest with a digest, and ``wanted`` decides by platform about each entry of an index.
    Layers are in the order in which images first name them. Raises `Corrupt`.
    """
    images: dict[Digest, int] = {}
    sizes: dict[Digest, int] = {}
    for image in _images(manifest, load, wanted, 0):
        for layer in image.layers:
            sizes[layer.digest] = layer.descriptor.size
            images[layer.digest] = images.get(layer.digest, 0) + 1
    return [LayerDescriptor(digest, sizes[digest], count) for digest, count in images.items()]


def _images(
    manifest: Manifest, load: Callable[[Digest], Manifest], wanted: Callable[[Platform | None], bool], depth: int
) -> Iterator[Manifest]:
    if not manifest.is_index:
        yield manifest
        return
    if depth == _DEPTH_LIMIT:
        raise Corrupt(f"indexes are nested more than {_DEPTH_LIMIT} deep")
    for child, platform in zip(manifest.children, manifest.platforms, strict=True):
        if wanted(platform):
            yield from _images(load(child.digest), load, wanted, depth + 1)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_DOCUMENT_LIMIT_BYTES + 1)
    except OSError as error:
        raise ReductoError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _DOCUMENT_LIMIT_BYTES:
        raise Corrupt(f"{path}: longer than {_DOCUMENT_LIMIT_BYTES} bytes")
    return content


def parse_manifest(content: bytes, name: str) -> Manifest:
    """The image manifest or index in ``content``, whatever type its file or its sender says. Raises `Corrupt`."""
    try:
        return Manifest.parse(content, "")
    except ManifestInvalid as error:
        raise Corrupt(f"{name}: {error}") from None
