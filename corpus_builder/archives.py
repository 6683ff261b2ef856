"""Layers inside image archives, the tar files that ``docker save`` and ``skopeo copy ... oci-archive:`` write.

Such a tar holds layers as files, which may be compressed. Each layer is a source of its own here, because a corpus
should hold the files inside the layers and not the layers' compressed bytes.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus_builder.oci_layout import layers_of, parse_manifest
from corpus_builder.plain import file_pieces, plain_pieces
from reducto.errors import Corrupt, ReductoError
from reducto.oci.manifest import Manifest
from reducto.values import Digest

_DOCUMENT_LIMIT_BYTES = 4 << 20
#: Names that the first member of an image archive may have. Any other name means an ordinary tar.
_FIRST = re.compile(r"(\./)?(blobs(/.*)?|[0-9a-f]{64}(\.json|/.*)?|oci-layout|index\.json|manifest\.json|repositories)")


@dataclass(frozen=True, slots=True)
class ArchivedLayer:
    """A layer inside an image archive, as a `PlainSource`. ``offset`` and ``length`` give its place in the archive."""

    archive: Path
    member: str
    offset: int
    length: int
    weight: int = 1

    @property
    def name(self) -> str:
        return f"{self.archive} {self.member}"

    @property
    def identity(self) -> str:
        status = self.archive.stat()
        return f"archived:{self.archive.resolve()}:{self.member}:{self.length}:{status.st_mtime_ns}"

    def _wire(self) -> Iterator[bytes]:
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            yield from _first_bytes(file_pieces(file), self.length, self.name)

    def pieces(self) -> Iterator[bytes]:
        return plain_pieces(self._wire(), self.name)

    def anchors(self) -> Iterator[int]:
        return iter(())


def _first_bytes(pieces: Iterator[bytes], length: int, name: str) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            return
    if length > 0:
        raise Corrupt(f"{name}: the archive ends inside this layer")


def archived_layers(path: Path) -> list[ArchivedLayer]:
    """The layers of an image archive, each once. The list is empty if ``path`` is no image archive.

    Raises `Corrupt` if the archive names a layer that it does not hold.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            if first is None or not _FIRST.fullmatch(first.name):
                return []
            members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
            counts = _layer_names(tar, members)
    except tarfile.TarError:
        return []
    except OSError as error:
        raise ReductoError(f"{path} cannot be read: {error.strerror}") from None
    layers = []
    for name, images in counts.items():
        member = members.get(name)
        if member is not None and (member.issym() or member.islnk()):
            # Older versions of docker write a layer that two images share once, and a link to it for the other image.
            continue
        if member is None or not member.isreg():
            raise Corrupt(f"{path}: the archive names layer {name[:160]!r} and does not hold it")
        layers.append(ArchivedLayer(path, name, member.offset_data, member.size, images))
    return layers


def _layer_names(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> Counter[str]:
    """The member names of layers in the order of the images, and for each the number of images that have it."""
    if "manifest.json" in members:
        try:
            images = json.loads(_content(tar, members["manifest.json"]))
        except (ValueError, RecursionError):
            images = None
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise Corrupt(f"{tar.name!s}: manifest.json is not a list of images")
        return Counter(str(layer) for image in images for layer in image.get("Layers") or ())
    if "oci-layout" not in members or "index.json" not in members:
        return Counter()

    def load(digest: Digest) -> Manifest:
        member = members.get(_blob_name(digest))
        content = _content(tar, member) if member else b""
        if Digest.of(content, digest.algorithm) != digest:
            raise Corrupt(f"{tar.name!s}: manifest {digest} is missing or has another digest")
        return parse_manifest(content, str(digest))

    index = parse_manifest(_content(tar, members["index.json"]), f"{tar.name!s}: index.json")
    return Counter({_blob_name(layer.digest): layer.images for layer in layers_of(index, load)})


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() and member.size <= _DOCUMENT_LIMIT_BYTES else None
    if file is None:
        raise Corrupt(
            f"{tar.name!s}: {member.name[:160]!r} is not a file or is larger than {_DOCUMENT_LIMIT_BYTES} bytes"
        )
    with file:
        return file.read()
