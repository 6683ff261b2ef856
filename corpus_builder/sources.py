"""The sources of a corpus: named streams of plain bytes that can be read more than once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from corpus_builder.archives import archived_layers
from corpus_builder.oci_layout import is_oci_layout, layout_layers
from corpus_builder.plain import file_pieces, plain_pieces
from reducto.corpus.corpus_format import MAGIC, SEGMENT_BYTES
from reducto.corpus.reader import Corpus
from reducto.directory_tar import directory_tar, tree_identity, walk
from reducto.errors import Corrupt, UsageError
from reducto.trust.signatures import TrustStore
from reducto.values import Digest

_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".rc")


class PlainSource(Protocol):
    """One input of a build. Two sources of the same ``identity`` hold the same bytes, so only one of them is read."""

    @property
    def name(self) -> str:
        """The name that messages and reports show."""

    @property
    def identity(self) -> str:
        """A text that is different whenever the content is."""

    @property
    def weight(self) -> int:
        """The number of places (images) in which this content was found."""

    def pieces(self) -> Iterator[bytes]:
        """The plain bytes, from the beginning at each call. Raises `Corrupt`."""

    def anchors(self) -> Iterator[int]:
        """Plain offsets, ascending, at which chunks must end in addition to the beginnings of tar members."""


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A directory as a deterministic tar, without the archives in it (``skip``), which are sources of their own."""

    root: Path
    skip: frozenset[Path]
    weight: int = 1

    @property
    def name(self) -> str:
        return str(self.root)

    @property
    def identity(self) -> str:
        return f"directory:{tree_identity(self.root, self.skip)}"

    def pieces(self) -> Iterator[bytes]:
        return directory_tar(self.root, keep_times=False, skip=self.skip)

    def anchors(self) -> Iterator[int]:
        return iter(())


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of any kind. It is decompressed if it is gzip or zstd."""

    path: Path
    weight: int = 1

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        status = self.path.stat()
        return f"file:{self.path.resolve()}:{status.st_size}:{status.st_mtime_ns}"

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from plain_pieces(file_pieces(file), self.name)

    def anchors(self) -> Iterator[int]:
        return iter(())


@dataclass(frozen=True, slots=True)
class BlobSource:
    """A layer in a file whose content has ``digest``, which is checked at each reading. ``label`` names its origin."""

    path: Path
    digest: Digest
    label: str
    weight: int = 1

    @property
    def name(self) -> str:
        return f"{self.label} {self.digest}"

    @property
    def identity(self) -> str:
        return f"blob:{self.digest}"

    def _wire(self) -> Iterator[bytes]:
        hasher = hashlib.new(self.digest.algorithm)
        with self.path.open("rb") as file:
            for piece in file_pieces(file):
                hasher.update(piece)
                yield piece
        if hasher.hexdigest() != self.digest.hex:
            raise Corrupt(f"{self.name}: the blob has another digest")

    def pieces(self) -> Iterator[bytes]:
        wire = self._wire()
        yield from plain_pieces(wire, self.name)
        for _ in wire:  # Bytes after the last gzip member must be read as well, because the digest covers them.
            pass

    def anchors(self) -> Iterator[int]:
        return iter(())


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """An existing corpus as input: it is extended, merged with other sources, or reduced to its best chunks."""

    corpus: Corpus
    weight: int = 1

    @property
    def name(self) -> str:
        return str(self.corpus.path)

    @property
    def identity(self) -> str:
        return f"corpus:{self.corpus.id}"

    def pieces(self) -> Iterator[bytes]:
        for at in range(0, self.corpus.plain_length, SEGMENT_BYTES):
            yield bytes(self.corpus.view(at, min(SEGMENT_BYTES, self.corpus.plain_length - at)))

    def anchors(self) -> Iterator[int]:
        return self.corpus.anchors()


@dataclass(frozen=True, slots=True)
class Trust:
    """Which corpora may be read as input: those signed by a key in ``store``, or also unsigned ones."""

    store: TrustStore | None = None
    allow_unsigned: bool = False


def collect(path: Path, trust: Trust) -> Iterator[PlainSource]:
    """The sources at ``path``: the layers of an OCI layout or image archive, a directory and the archives in it, or
    one file.

    Raises `UsageError` if ``path`` does not exist, and what `Corpus.open` raises.
    """
    if path.is_dir():
        if is_oci_layout(path):
            for layer in layout_layers(path):
                yield BlobSource(layer.path, layer.digest, str(path), layer.images)
            return
        archives = [e.path for e in walk(path) if e.name.endswith(_ARCHIVE_SUFFIXES) and e.path.is_file()]
        for archive in archives:
            yield from _file(archive, trust)
        skip = frozenset(archives)
        if any(not entry.path.is_dir() for entry in walk(path, skip)):
            yield DirectorySource(path, skip)
    elif path.is_file():
        yield from _file(path, trust)
    else:
        raise UsageError(f"{path} does not exist or is neither a file nor a directory")


def _file(path: Path, trust: Trust) -> Iterator[PlainSource]:
    with path.open("rb") as file:
        is_corpus = file.read(len(MAGIC)) == MAGIC
    if is_corpus:
        yield CorpusSource(Corpus.open(path, trust=trust.store, allow_unsigned=trust.allow_unsigned))
        return
    layers: list[PlainSource] = list(archived_layers(path))
    yield from layers or [FileSource(path)]
