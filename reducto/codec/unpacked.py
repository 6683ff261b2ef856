"""Plain bytes of a packed corpus: decoded where and when they are wanted, and verified before anybody gets them."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from reducto.codec.frame_reader import FrameReader, LongReaders, all_arrived
from reducto.codec.frames import NEED_DELTA_BASE, Frame, FrameKind
from reducto.codec.packed import HEADER_BYTES, PackedTable
from reducto.corpus.corpus_format import HASH_BYTES, SEGMENT_BYTES, SignatureBlock
from reducto.corpus.indexing import IndexedCorpusWriter
from reducto.corpus.info import CorpusInfo
from reducto.errors import CorpusMissing, Corrupt, LimitExceeded, SegmentCorrupt
from reducto.kernel.buffers import copied
from reducto.kernel.matching import Plan
from reducto.mapped import scratch
from reducto.values import ByteRange, CorpusId
from reducto.workers import Submit

#: Frames of up to this many plain bytes are decoded at once, longer ones as far as they are needed. A reader that has
#: not reached the end of its frame holds zstd's window, up to 128 MiB, so only a few may stay open (`LongReaders`).
_WHOLE_FRAME_BYTES = 8 << 20
#: Plain bytes beyond which a packed corpus is not unpacked, because its table can claim any number.
PLAIN_LIMIT_BYTES = 64 << 30

#: Returns when so many bytes of a packed corpus may be read; raises when they will not arrive.
Arrived = Callable[[int], None]


class ReadableCorpus(Protocol):
    """A corpus to copy from: what `Corpus` (mapped) and `UnpackedCorpus` (decoded on demand) have in common."""

    @property
    def id(self) -> CorpusId: ...

    @property
    def plain_length(self) -> int: ...

    @property
    def plain(self) -> memoryview:
        """All plain bytes; only what `ensure` was called for may be read."""

    @property
    def dictionary(self) -> bytes: ...

    def ensure(self, ranges: Iterable[ByteRange], submit: Submit | None = None) -> None:
        """Makes these plain bytes readable and verified. Raises `Corrupt`, `SegmentCorrupt`."""


def ensure_touched(source: ReadableCorpus, number: int, plan: Plan, plain_offset: int, length: int) -> None:
    """Makes readable what ``plan`` reads of ``source``, its reference ``number``, for ``length`` bytes of the blob.

    Raises as `ReadableCorpus.ensure`, and `Corrupt` where operations leave the corpus.
    """
    end = source.plain_length
    segments = plan.touched(plain_offset, length, number, SEGMENT_BYTES, end)
    if segments:
        source.ensure(ByteRange(s * SEGMENT_BYTES, min((s + 1) * SEGMENT_BYTES, end)) for s in segments)


def base_of(
    frame: Frame, parents: tuple[CorpusId, ...], sources: Mapping[CorpusId, ReadableCorpus]
) -> bytes | memoryview:
    """The delta base or the dictionary that ``frame`` was compressed with; empty if it was compressed alone.

    ``sources`` holds the ``parents``. Raises `CorpusMissing`, `Corrupt`, `SegmentCorrupt`.
    """
    if frame.kind not in (*NEED_DELTA_BASE, FrameKind.DICTIONARY):
        return b""
    if frame.kind is FrameKind.DICTIONARY:
        reference = frame.bases[0].reference if frame.bases else len(parents)
        if reference >= len(parents):
            raise Corrupt("packed corpus: a dictionary frame names no parent")
        return _source(sources, parents[reference]).dictionary
    for number, parent in enumerate(parents):
        spans = [ByteRange(b.offset, b.offset + b.length) for b in frame.bases if b.reference == number]
        if spans:
            _source(sources, parent).ensure(spans)
    return copied([_source(sources, parents[b.reference]).plain[b.offset : b.offset + b.length] for b in frame.bases])


def _source(sources: Mapping[CorpusId, ReadableCorpus], corpus: CorpusId) -> ReadableCorpus:
    try:
        return sources[corpus]
    except KeyError:
        raise CorpusMissing(corpus) from None


class _OpenFrame:
    """One frame, and how far it is decoded. Its ranges are filled in their order.

    ``packed_offset`` is the offset of ``stored`` in the packed corpus.
    """

    def __init__(self, frame: Frame, stored: memoryview, packed_offset: int) -> None:
        self.frame = frame
        self.stored = stored
        self.packed_offset = packed_offset
        self.lock = threading.Lock()
        self.reader: FrameReader | None = None
        self.slot: object | None = None
        """The slot of `LongReaders` that allows a long frame's reader to stay open."""
        self.done = 0
        """Plain bytes of the frame that are decoded."""
        self.starts = [0, *accumulate(map(len, frame.ranges))]
        """Where each range begins among the frame's plain bytes, and last their number."""


class UnpackedCorpus:
    """The plain bytes of a packed corpus, in a temporary file that has no name. Thread-safe.

    ``packed`` must stay valid until `close`. ``sources`` must hold the parents by the time that a frame needs them.
    While ``packed`` is still being written, ``arrived(n)`` returns when its first ``n`` bytes are there, or raises.
    Raises `NotReducto`, `Corrupt`, `LimitExceeded` (more than ``plain_limit_bytes``), `OSError` (the disk is full).
    """

    def __init__(
        self,
        packed: memoryview,
        sources: Mapping[CorpusId, ReadableCorpus],
        spool_dir: str | os.PathLike[str],
        plain_limit_bytes: int = PLAIN_LIMIT_BYTES,
        arrived: Arrived | None = None,
        readers: LongReaders | None = None,
    ) -> None:
        self._readers = readers or LongReaders()
        self._arrived = arrived or all_arrived
        self._arrived(HEADER_BYTES)
        self._arrived(PackedTable.header_length(packed))
        self.table, at = PackedTable.parse(packed)
        self.id = self.table.corpus_id
        self.plain_length = self.table.plain_length
        self.dictionary = self.table.dictionary
        self._sources = sources
        self._frames: list[_OpenFrame] = []
        for frame in self.table.frames:
            stored = packed[at : at + frame.stored_length]
            self._frames.append(_OpenFrame(frame, stored, at))
            at += frame.stored_length
        if at != len(packed):
            raise Corrupt(f"packed corpus: {len(packed)} bytes where its table tells of {at}")
        spans = sorted(
            (span.start, span.stop, number, start)
            for number, open_frame in enumerate(self._frames)
            for span, start in zip(open_frame.frame.ranges, open_frame.starts, strict=False)
        )
        self._spans = spans
        self._span_starts = [span[0] for span in spans]
        self._verified = bytearray(-(-self.plain_length // SEGMENT_BYTES))
        if self.plain_length > plain_limit_bytes:
            raise LimitExceeded(
                f"packed corpus: {self.plain_length} plain bytes exceed plain_limit_bytes, which is {plain_limit_bytes}"
            )
        self.plain = scratch(spool_dir, self.plain_length)

    def view(self, plain_offset: int, length: int) -> memoryview:
        """Exactly ``length`` verified bytes. Raises `Corrupt`, `SegmentCorrupt`, `CorpusMissing`."""
        self.ensure([ByteRange(plain_offset, plain_offset + length)])
        return self.plain[plain_offset : plain_offset + length].toreadonly()

    def ensure(self, ranges: Iterable[ByteRange], submit: Submit | None = None) -> None:
        """Decodes and verifies the segments of ``ranges`` that are not verified yet. Raises as `view`."""
        wanted: set[int] = set()
        for span in ranges:
            if span.stop > self.plain_length:
                raise Corrupt(f"bytes {span.start}..{span.stop} leave corpus {self.id} of {self.plain_length}")
            if len(span):
                wanted.update(range(span.start // SEGMENT_BYTES, (span.stop - 1) // SEGMENT_BYTES + 1))
        for segment in sorted(wanted):
            if not self._verified[segment]:
                self._make_segment(segment)

    def _make_segment(self, segment: int) -> None:
        start, stop = segment * SEGMENT_BYTES, min((segment + 1) * SEGMENT_BYTES, self.plain_length)
        at = max(0, bisect_right(self._span_starts, start) - 1)
        while at < len(self._spans) and self._spans[at][0] < stop:
            span_start, span_stop, number, frame_offset = self._spans[at]
            self._decode(self._frames[number], frame_offset + min(stop, span_stop) - span_start)
            at += 1
        expected = self.table.segment_hashes[segment * HASH_BYTES : (segment + 1) * HASH_BYTES]
        if blake3(self.plain[start:stop]).digest() != expected:
            raise SegmentCorrupt(str(self.id), segment)
        self._verified[segment] = 1

    def _decode(self, frame: _OpenFrame, wanted: int) -> None:
        """Decodes ``frame`` until ``wanted`` of its plain bytes are there."""
        total = frame.starts[-1]
        with frame.lock:
            if frame.done >= wanted:
                return
            if frame.reader is None:
                frame.reader = self._reader(frame, base_of(frame.frame, self.table.parents, self._sources))
                frame.slot = self._readers.slot() if total > _WHOLE_FRAME_BYTES else None
            if total <= _WHOLE_FRAME_BYTES:
                self._read_on(frame, frame.reader, total)
            elif frame.slot is not None:
                self._read_on(frame, frame.reader, min(total, wanted + SEGMENT_BYTES))
            else:
                with self._readers.without_slot:
                    self._read_on(frame, frame.reader, total)

    def _read_on(self, frame: _OpenFrame, reader: FrameReader, goal: int) -> None:
        """Decodes up to ``goal`` plain bytes of the frame, and closes its reader at the frame's end."""
        while frame.done < goal:
            number = bisect_right(frame.starts, frame.done) - 1
            span = frame.frame.ranges[number]
            start = span.start + frame.done - frame.starts[number]
            length = min(span.stop - start, goal - frame.done)
            reader.read_into(self.plain[start : start + length])
            frame.done += length
        if frame.done == frame.starts[-1]:
            frame.reader = frame.slot = None

    def _reader(self, frame: _OpenFrame, base: bytes | memoryview) -> FrameReader:
        kind, offset, wait = frame.frame.kind, frame.packed_offset, self._arrived
        return FrameReader(kind, frame.stored, base, frame.starts[-1], lambda length: wait(offset + length))

    def write_corpus(self, path: Path, info: CorpusInfo | None = None, signature: SignatureBlock | None = None) -> None:
        """Writes the whole corpus as a file to map, with its tables, so that new bytes can be matched against it.

        ``info`` and ``signature`` travel apart from the packed corpus; with them the file is the one that was packed.
        Raises as `view`, and `OSError`.
        """
        index = self.table.index
        writer = IndexedCorpusWriter(path, chunking=index.chunking)
        try:
            writer.anchor(index.anchors)
            for path_hash, offset in index.members:
                writer.note_member(path_hash, offset)
            for at in range(0, self.plain_length, SEGMENT_BYTES):
                writer.append(self.view(at, min(SEGMENT_BYTES, self.plain_length - at)))
            made = writer.finish(dictionary=self.dictionary, info=info, signature=signature)
            if made != self.id:
                raise Corrupt(f"packed corpus {self.id} unpacks to corpus {made}")
        finally:
            writer.close()

    def close(self) -> None:
        """Lets the temporary file go as soon as no view of it is left. Idempotent."""
        self.plain = memoryview(b"")
