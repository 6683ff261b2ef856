"""A corpus as it travels: zstd frames with a table, so that plain bytes at any place can be decoded without the rest.

::

    magic (8) | u16 version | u16 flags | u32 table length | BLAKE3 of the table (32) | table (zstd) | frames

docs/formats/packed-corpus.md describes the table. The identity of the corpus is in it, with the BLAKE3 of every MiB
of plain bytes, so whatever is decoded is verified before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import zstandard
from blake3 import blake3

from reducto import bounded
from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES
from reducto.codec.frames import DELTA_BASE_LIMIT_BYTES, FRAME_LIMIT_BYTES, Frame, FrameKind
from reducto.corpus.corpus_format import HASH_BYTES, SEGMENT_BYTES, identity, segment_count
from reducto.errors import Corrupt, LimitExceeded, NotReducto
from reducto.kernel.chunking import ChunkParams
from reducto.kernel.matching import REFERENCES_LIMIT, Extent
from reducto.values import ByteRange, CorpusId
from reducto.varint import NumberReader, distances, put_numbers

MAGIC = b"\x89RDP\r\n\x1a\n"
VERSION = 1
_HEADER = struct.Struct("<8sHHI32s")
HEADER_BYTES = _HEADER.size
#: Ranges, delta bases, members and anchors of one corpus together. It bounds what a short table can make a reader hold.
ENTRIES_LIMIT = 4 << 20
FRAMES_LIMIT = 128 << 10
_TABLE_LIMIT_BYTES = 128 << 20
_TABLE_LEVEL = 12


@dataclass(frozen=True, slots=True)
class IndexInputs:
    """What a corpus's tables are made from, in addition to its plain bytes."""

    chunking: ChunkParams
    members: tuple[tuple[int, int], ...] = ()
    """Path hash and plain offset of each tar member, by ascending offset."""
    anchors: tuple[int, ...] = ()
    """The plain offsets where chunks end whatever the content is, ascending."""


@dataclass(frozen=True, slots=True)
class PackedTable:
    """Everything about a packed corpus but the frames' bytes."""

    plain_length: int
    dictionary: bytes
    segment_hashes: bytes
    parents: tuple[CorpusId, ...]
    frames: tuple[Frame, ...]
    index: IndexInputs

    @property
    def corpus_id(self) -> CorpusId:
        """The identity that follows from the plain bytes and the dictionary."""
        return identity(self.plain_length, blake3(self.dictionary).digest(), self.segment_hashes)

    def header(self) -> bytes:
        """The bytes before the frames. Raises `LimitExceeded` for more than a reader would accept."""
        marks = len(self.index.members) + len(self.index.anchors)
        entries = marks + sum(len(f.ranges) + len(f.bases) for f in self.frames)
        if entries > ENTRIES_LIMIT or len(self.frames) > FRAMES_LIMIT:
            raise LimitExceeded(
                f"a corpus with {len(self.frames)} frames and {entries} members, anchors and ranges is too large; "
                f"the limits are {FRAMES_LIMIT} and {ENTRIES_LIMIT}"
            )
        table = self._encode()
        head = _HEADER.pack(MAGIC, VERSION, 0, len(table), blake3(table).digest())
        return head + table

    def _encode(self) -> bytes:
        out, index = bytearray(), self.index
        put_numbers(out, self.plain_length, index.chunking.average_bytes, index.chunking.lean_to_lines)
        put_numbers(out, len(self.dictionary), len(self.parents), len(self.frames))
        put_numbers(out, len(index.members), len(index.anchors))
        out += self.dictionary + self.segment_hashes
        out += b"".join(map(bytes.fromhex, self.parents))
        for frame in self.frames:
            put_numbers(out, frame.kind, frame.stored_length, len(frame.ranges), len(frame.bases))
        for frame in self.frames:
            put_numbers(out, *distances(edge for span in frame.ranges for edge in (span.start, span.stop)))
        for frame in self.frames:
            _put_bases(out, frame.bases)
        put_numbers(out, *distances(offset for _, offset in index.members))
        out += b"".join(struct.pack("<Q", path) for path, _ in index.members)
        put_numbers(out, *distances(index.anchors))
        return zstandard.ZstdCompressor(level=_TABLE_LEVEL).compress(bytes(out))

    @classmethod
    def _decode(cls, table: bytes) -> Self:
        plain = bounded.decompress(table, _TABLE_LIMIT_BYTES, "packed corpus: its table")
        numbers = NumberReader(plain, "packed corpus: its table")
        limit = len(plain)
        plain_length, average, lean = numbers.take(), numbers.take(), numbers.take()
        dictionary_length, parent_count, frame_count, member_count, anchor_count = (
            numbers.take(most) for most in (limit, REFERENCES_LIMIT, FRAMES_LIMIT, ENTRIES_LIMIT, ENTRIES_LIMIT)
        )
        # The table holds a hash of 32 bytes for every MiB of plain bytes, so it has more bytes than they have MiB.
        if plain_length >= limit << 20:
            raise Corrupt("packed corpus: its table: cut off")
        dictionary = numbers.take_bytes(dictionary_length)
        hashes = numbers.take_bytes(segment_count(plain_length) * HASH_BYTES)
        parents = tuple(CorpusId(numbers.take_bytes(HASH_BYTES).hex()) for _ in range(parent_count))
        fields = numbers.take_many(4 * frame_count)
        heads = [fields[at : at + 4] for at in range(0, len(fields), 4)]
        if member_count + anchor_count + sum(head[2] + head[3] for head in heads) > ENTRIES_LIMIT:
            raise Corrupt(f"packed corpus: its table has more than {ENTRIES_LIMIT} entries")
        ranges = [_take_ranges(numbers, head[2]) for head in heads]
        bases = [_take_bases(numbers, head[3], parent_count) for head in heads]
        frames = tuple(
            Frame(_kind(head[0]), spans, head[1], extents)
            for head, spans, extents in zip(heads, ranges, bases, strict=True)
        )
        offsets = numbers.take_ascending(member_count)
        paths = struct.unpack(f"<{member_count}Q", numbers.take_bytes(8 * member_count))
        anchors = tuple(numbers.take_ascending(anchor_count))
        numbers.finish()
        index = IndexInputs(ChunkParams(average, bool(lean)), tuple(zip(paths, offsets, strict=True)), anchors)
        made = cls(plain_length, dictionary, hashes, parents, frames, index)
        made._check()
        return made

    def _check(self) -> None:
        """Raises `Corrupt` unless the frames cover the plain bytes exactly once."""
        spans = sorted((span.start, span.stop) for frame in self.frames for span in frame.ranges)
        at = 0
        for start, stop in spans:
            if start != at or stop <= start:
                raise Corrupt("packed corpus: its frames overlap or leave a hole")
            at = stop
        offsets = [offset for _, offset in self.index.members] + list(self.index.anchors)
        if at != self.plain_length or max(offsets, default=0) > at:
            raise Corrupt("packed corpus: its table does not fit its plain length")
        if any(frame.plain_length > FRAME_LIMIT_BYTES for frame in self.frames):
            raise Corrupt(f"packed corpus: a frame holds more than {FRAME_LIMIT_BYTES} bytes")
        if any(f.kind is FrameKind.DIFFERENCE and f.plain_length > DIFFERENCE_LIMIT_BYTES for f in self.frames):
            raise Corrupt(f"packed corpus: a difference frame holds more than {DIFFERENCE_LIMIT_BYTES} bytes")
        if any(sum(base.length for base in frame.bases) > DELTA_BASE_LIMIT_BYTES for frame in self.frames):
            raise Corrupt(f"packed corpus: a frame has a delta base of more than {DELTA_BASE_LIMIT_BYTES} bytes")

    @classmethod
    def parse(cls, data: bytes | memoryview) -> tuple[Self, int]:
        """The table at the front of ``data`` and the offset of the first frame. Raises `NotReducto`, `Corrupt`."""
        end = cls.header_length(data)
        table = bytes(data[HEADER_BYTES:end])
        stated = _HEADER.unpack_from(bytes(data[:HEADER_BYTES]))[4]
        if len(table) != end - HEADER_BYTES or blake3(table).digest() != stated:
            raise Corrupt("packed corpus: its table is damaged or cut off")
        return cls._decode(table), end

    @staticmethod
    def header_length(data: bytes | memoryview) -> int:
        """How many bytes stand before the first frame, by the first `HEADER_BYTES`. Raises `NotReducto`, `Corrupt`."""
        head = bytes(data[:HEADER_BYTES])
        if head[:8] != MAGIC[: len(head)] or not head:
            raise NotReducto("not a packed corpus: it does not start with its magic bytes")
        if len(head) < HEADER_BYTES:
            raise Corrupt("packed corpus: cut off inside its header")
        _, version, flags, length, _ = _HEADER.unpack(head)
        if version != VERSION or flags:
            raise NotReducto(f"packed corpus version {version} (flags {flags:#x}) is not known; this is for {VERSION}")
        return HEADER_BYTES + int(length)


def read_table(path: Path) -> PackedTable:
    """The table of the packed corpus in a file. Raises `NotReducto`, `Corrupt`."""
    with path.open("rb") as stored:
        head = stored.read(HEADER_BYTES)
        return PackedTable.parse(head + stored.read(PackedTable.header_length(head) - HEADER_BYTES))[0]


def _kind(value: int) -> FrameKind:
    try:
        return FrameKind(value)
    except ValueError:
        raise Corrupt(f"packed corpus: frame kind {value} is not known") from None


def _put_bases(out: bytearray, bases: Sequence[Extent]) -> None:
    """Writes reference, offset and length of each extent.

    Where an extent has the reference of the one before, 0 stands for it and the offset counts from that extent's end.
    """
    reference, end = 0, 0
    for base in bases:
        same = base.reference == reference and base.offset >= end
        offset = base.offset - end if same else base.offset
        put_numbers(out, 0 if same else base.reference + 1, offset, base.length)
        reference, end = base.reference, base.offset + base.length


def _take_bases(numbers: NumberReader, count: int, parents: int) -> tuple[Extent, ...]:
    out = []
    reference, end = 0, 0
    taken = numbers.take_many(3 * count)
    for tag, offset, length in zip(taken[::3], taken[1::3], taken[2::3], strict=True):
        if tag:
            reference, end = tag - 1, 0
        if reference >= max(parents, 1):
            raise Corrupt("packed corpus: a delta base lies in a parent that does not exist")
        out.append(Extent(reference, end + offset, length))
        end += offset + length
    return tuple(out)


def _take_ranges(numbers: NumberReader, count: int) -> tuple[ByteRange, ...]:
    edges = numbers.take_ascending(2 * count)
    return tuple(ByteRange(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def write_packed(out: BinaryIO, table: PackedTable, frames: BinaryIO) -> int:
    """Writes the packed corpus whose stored frames lie one after the other in ``frames``; returns its length."""
    head = table.header()
    out.write(head)
    length = len(head)
    while piece := frames.read(SEGMENT_BYTES):
        out.write(piece)
        length += len(piece)
    return length
