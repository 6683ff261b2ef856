"""Layers of an OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reducto.errors import Corrupt, ReductoError, UsageError
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

    def load(digest: Digest) -> dict[str, Any]:
        path = blob_path(root, digest)
        content = _read(path)
        if Digest.of(content, digest.algorithm) != digest:
            raise Corrupt(f"{path}: the content has another digest")
        return parse_document(content, str(path))

    index = parse_document(_read(root / "index.json"), str(root / "index.json"))
    for layer in layers_of([index], load):
        yield LayoutLayer(blob_path(root, layer.digest), layer.digest, layer.images)


def blob_path(root: Path, digest: Digest) -> Path:
    """The path of a blob in a layout."""
    return root / "blobs" / digest.algorithm / digest.hex


def layers_of(
    documents: list[dict[str, Any]],
    load: Callable[[Digest], dict[str, Any]],
    wanted: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> list[LayerDescriptor]:
    """The layers of the images in ``documents`` (image manifests and indexes), each once.

    ``load`` returns the manifest with a digest, and ``wanted`` decides about each entry of an index. Layers are in
    the order in which images first name them. Raises `Corrupt`.
    """
    found: dict[Digest, tuple[int, int]] = {}
    for manifest in _manifests(documents, load, wanted, 0):
        for layer in manifest["layers"]:
            try:
                digest, size = Digest.parse(layer["digest"]), int(layer["size"])
            except (KeyError, TypeError, ValueError, UsageError) as error:
                raise Corrupt(f"a manifest names a layer wrongly: {error}") from None
            found[digest] = (size, found.get(digest, (0, 0))[1] + 1)
    return [LayerDescriptor(digest, size, images) for digest, (size, images) in found.items()]


def _manifests(
    documents: list[dict[str, Any]],
    load: Callable[[Digest], dict[str, Any]],
    wanted: Callable[[dict[str, Any]], bool],
    depth: int,
) -> Iterator[dict[str, Any]]:
    for document in documents:
        if isinstance(document.get("layers"), list):
            yield document
            continue
        if not isinstance(document.get("manifests"), list) or depth == _DEPTH_LIMIT:
            raise Corrupt(
                f"neither an image manifest nor an index, or indexes are nested more than {_DEPTH_LIMIT} deep"
            )
        for entry in document["manifests"]:
            if isinstance(entry, dict) and wanted(entry):
                try:
                    digest = Digest.parse(str(entry.get("digest")))
                except UsageError as error:
                    raise Corrupt(f"an index names a manifest wrongly: {error}") from None
                yield from _manifests([load(digest)], load, wanted, depth + 1)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_DOCUMENT_LIMIT_BYTES + 1)
    except OSError as error:
        raise ReductoError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _DOCUMENT_LIMIT_BYTES:
        raise Corrupt(f"{path}: longer than {_DOCUMENT_LIMIT_BYTES} bytes")
    return content


def parse_document(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object in ``content``. Raises `Corrupt`."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Corrupt(f"{name}: not a JSON object")
    return document
