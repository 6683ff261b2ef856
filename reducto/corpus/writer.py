"""Writes one `.rc` file: plain bytes as they come, then all other sections; the file gets its name at the end."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from reducto.corpus.anchors import encode_anchors
from reducto.corpus.corpus_format import (
    HASHED_SECTIONS,
    HEADER_BYTES,
    SEGMENT_BYTES,
    CorpusHeader,
    CorpusManifest,
    Section,
    SignatureBlock,
    manifest_length,
    section_extents,
    signed_message,
)
from reducto.corpus.info import CorpusInfo
from reducto.corpus.pair_spool import Pairs, PairSpool
from reducto.corpus.path_index import PathCollector
from reducto.errors import UsageError
from reducto.files import AtomicFile
from reducto.kernel.chunking import ChunkParams
from reducto.trust.signatures import Signer
from reducto.values import CorpusId


class SegmentHasher:
    """Hashes every 1 MiB segment of a stream with BLAKE3."""

    def __init__(self) -> None:
        self.length = 0
        self._done = bytearray()
        self._open = blake3()

    def update(self, data: memoryview) -> None:
        """Takes the next bytes."""
        at = 0
        while at < len(data):
            left = SEGMENT_BYTES - self.length % SEGMENT_BYTES
            piece = data[at : at + left]
            self._open.update(piece)
            self.length += len(piece)
            at += len(piece)
            if self.length % SEGMENT_BYTES == 0:
                self._close_segment()

    def _close_segment(self) -> None:
        self._done += self._open.digest()
        self._open = blake3()

    def finish(self) -> bytes:
        """All hashes, 32 bytes each. Nothing can be added afterwards."""
        if self.length % SEGMENT_BYTES:
            self._close_segment()
        return bytes(self._done)


class CorpusWriter:
    """A corpus that is being written. Takes bounded memory whatever its length; not thread-safe.

    `append` plain bytes, call `note_chunks`, `note_hooks` and `note_member` for what lies in them, then `finish`.
    Leaving the ``with`` block without `finish` leaves no file. The same calls make the same bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        chunking: ChunkParams | None = None,
        signer: Signer | None = None,
    ) -> None:
        self.chunking = chunking or ChunkParams()
        self._signer = signer
        self._target = AtomicFile(path)
        self._file = self._target.file
        self._file.write(bytes(HEADER_BYTES))
        self._segments = SegmentHasher()
        directory = Path(path).parent
        self._chunks = PairSpool(directory)
        self._hooks = PairSpool(directory)
        self._members = PathCollector()
        self._anchors = array("Q")

    @property
    def plain_length(self) -> int:
        """How many plain bytes were appended, which is the offset of the next one."""
        return self._segments.length

    def append(self, plain: bytes | memoryview) -> int:
        """Appends plain bytes and returns the offset of the first of them."""
        offset = self._segments.length
        view = memoryview(plain).cast("B")
        self._segments.update(view)
        self._file.write(view)
        return offset

    def note_chunks(self, entries: Pairs) -> None:
        """Adds chunks to the index: packed little-endian u64 pairs (fingerprint, plain offset), or tuples."""
        self._chunks.add(entries)

    def note_hooks(self, entries: Pairs) -> None:
        """Adds large chunks to the hooks, in the form that `note_chunks` takes."""
        self._hooks.add(entries)

    def note_member(self, path_hash: int, plain_offset: int) -> None:
        """Adds a tar member to the path index: its name's hash (`kernel.chunking.path_hash`), and where it begins."""
        self._members.add(path_hash, plain_offset)

    def note_anchors(self, plain_offsets: Iterable[int]) -> None:
        """Adds offsets at which chunks were cut whatever the content is; they ascend over all calls."""
        self._anchors.extend(plain_offsets)

    def finish(
        self, *, dictionary: bytes = b"", info: CorpusInfo | None = None, signature: SignatureBlock | None = None
    ) -> CorpusId:
        """Writes everything else, signs, makes the file durable and gives it its name; returns its identity.

        ``signature`` is one that the same corpus was given before; it is checked when the file is opened. Raises
        `UsageError` for a chunk, member or anchor beyond the plain bytes.
        """
        self._check_offsets()
        hashes, lengths = self._write_sections(dictionary, (info or CorpusInfo()).to_bytes())
        plain_length = self.plain_length
        header = CorpusHeader(self.chunking, section_extents((plain_length, *lengths, manifest_length(plain_length))))
        page = header.to_bytes()
        manifest = CorpusManifest(plain_length, blake3(page).digest(), tuple(hashes), self._segments.finish())
        self._pad_to(header[Section.MANIFEST].offset)
        self._file.write(manifest.to_bytes())
        if self._signer is not None:
            signature = SignatureBlock(self._signer.key_id, self._signer.sign(signed_message(manifest.root)))
        if signature is not None:
            self._file.write(signature.to_bytes())
        self._file.seek(0)
        self._file.write(page)
        self._target.publish()
        self.close()
        return manifest.corpus_id

    def _check_offsets(self) -> None:
        last = max(self._chunks.last_offset, self._hooks.last_offset, self._members.last_offset)
        if last >= max(self.plain_length, 1) or (self._anchors and self._anchors[-1] > self.plain_length):
            raise UsageError("a noted chunk, member or anchor lies beyond the plain bytes")

    def _write_sections(self, dictionary: bytes, info: bytes) -> tuple[list[bytes], list[int]]:
        """Writes the `HASHED_SECTIONS` in their order; returns their hashes and lengths."""
        contents: dict[Section, Iterable[bytes | memoryview]] = {
            Section.INDEX: self._chunks.table(),
            Section.HOOKS: self._hooks.table(),
            Section.PATHS: self._members.table(),
            Section.ANCHORS: encode_anchors(self._anchors),
            Section.DICTIONARY: (dictionary,),
            Section.INFO: (info,),
        }
        hashes, lengths = [], []
        for section in HASHED_SECTIONS:
            lengths.append(0)
            self._pad_to(section_extents((self.plain_length, *lengths))[section].offset)
            hasher = blake3()
            for piece in contents[section]:
                hasher.update(piece)
                self._file.write(piece)
                lengths[-1] += len(piece)
            hashes.append(hasher.digest())
        return hashes, lengths

    def _pad_to(self, offset: int) -> None:
        self._file.write(bytes(offset - self._file.tell()))

    def close(self) -> None:
        """Drops everything that `finish` has not published. Idempotent."""
        self._target.discard()
        self._chunks.close()
        self._hooks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
