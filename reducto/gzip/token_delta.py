"""What the tokens of a newer gzip blob are, told by an older one's (`cext/deflate/token_delta.h`).

Whoever has both blobs states once which tokens stay and what the others are; whoever rebuilds the newer blob beside the
older one then searches only where something is really new. A hint: what is rebuilt with it is proved as ever.

::

    magic (8) | u16 version | u16 zero | BLAKE3 of the rest (32) | zstd frame

The frame holds numbers in LEB128: wire lengths of the newer and the older blob; the count of stretches, each with
the distance from the end of the one before to its plain bytes in the newer blob, their place in the older one, their
length; the count of the newer blob's segments, the length of each one's delta (0: none), and the deltas.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import zstandard
from blake3 import blake3

from reducto import bounded
from reducto.container import PlainReader
from reducto.errors import Corrupt, ProofFailed
from reducto.gzip.donor import Precedent
from reducto.gzip.gzip_layout import Layout
from reducto.gzip.wire_parts import Part, parts_of
from reducto.kernel import gzip as kernel
from reducto.kernel.matching import AlignedRange
from reducto.varint import Numbers, put

MAGIC = b"\x89RDT\r\n\x1a\n"
VERSION = 1
#: What a reader takes into memory at once.
TOKEN_DELTA_LIMIT_BYTES = 64 << 20
_HEAD = struct.Struct("<8sHH32s")
_COUNT_LIMIT = 1 << 20
#: An older blob that stands for a smaller share of the newer one's bytes is not worth it.
_LEAST_SHARE = 1 / 8
_LEAST_STRETCH_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """A newer blob's token delta against an older one."""

    wire_length: int
    older_wire_length: int
    stretches: Sequence[AlignedRange]
    """Where the newer blob's plain bytes run beside the older one's (`reducto.kernel.matching.aligned_ranges`)."""
    deltas: Sequence[bytes]
    """One for each segment of the newer blob in wire order; empty: none."""

    def to_bytes(self) -> bytes:
        """The serialised form that `from_bytes` reads."""
        body = bytearray()
        put(body, self.wire_length, self.older_wire_length, len(self.stretches))
        end = 0
        for each in self.stretches:
            put(body, each.offset - end, each.donor_offset, each.length)
            end = each.offset + each.length
        put(body, len(self.deltas), *map(len, self.deltas))
        body += b"".join(self.deltas)
        packed = zstandard.ZstdCompressor(level=19).compress(bytes(body))
        return _HEAD.pack(MAGIC, VERSION, 0, blake3(packed).digest()) + packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises `Corrupt` for anything that `to_bytes` did not write, unknown versions included."""
        if len(data) < _HEAD.size or not data.startswith(MAGIC):
            raise Corrupt("token delta: not a token delta")
        _, version, zero, digest = _HEAD.unpack_from(data)
        if (version, zero) != (VERSION, 0):
            raise Corrupt(f"token delta: version {version} is unknown; a newer Reducto wrote it")
        packed = data[_HEAD.size :]
        if blake3(packed).digest() != digest:
            raise Corrupt("token delta: damaged or cut off")
        reader = Numbers(bounded.decompress(packed, TOKEN_DELTA_LIMIT_BYTES, "token delta"), "token delta")
        wire_length, older_wire_length = reader.take(), reader.take()
        stretches, end = [], 0
        for _ in range(reader.take(_COUNT_LIMIT)):
            ours, theirs, length = end + reader.take(), reader.take(), reader.take()
            stretches.append(AlignedRange(ours, theirs, length))
            end = ours + length
        lengths = reader.take_many(reader.take(_COUNT_LIMIT))
        deltas = [reader.raw(length) for length in lengths]
        reader.finish()
        return cls(wire_length, older_wire_length, stretches, deltas)

    def by_start(self, newer: Layout) -> dict[int, bytes]:
        """The deltas by where their segments begin in the newer blob's plain bytes. Raises `Corrupt`."""
        parts = segment_parts(newer)
        if len(parts) != len(self.deltas) or newer.wire_length != self.wire_length:
            raise Corrupt("token delta: of another blob")
        return {part.segment_start: delta for part, delta in zip(parts, self.deltas, strict=True) if delta}


def make_token_delta(
    newer: Layout,
    newer_wire: memoryview,
    newer_plain: PlainReader,
    older: Layout,
    older_wire: memoryview,
    parallels: Sequence[AlignedRange],
) -> TokenDelta | None:
    """A newer blob's delta against an older one, proved; None where it would not help much.

    ``parallels`` say where the newer plain bytes run beside the older ones. Raises `Corrupt`, `ProofFailed`, and what
    reading the plain bytes raises.
    """
    stretches = [each for each in parallels if each.length >= _LEAST_STRETCH_BYTES]
    precedent = Precedent(older, older_wire, None, stretches)
    deltas, copied_bytes = [], 0
    for part in segment_parts(newer):
        delta, length = _segment_delta(newer, newer_wire, newer_plain, precedent, part)
        deltas.append(delta)
        copied_bytes += length
    if copied_bytes < newer.plain_length * _LEAST_SHARE:
        return None
    return TokenDelta(newer.wire_length, older.wire_length, stretches, deltas)


def _segment_delta(
    newer: Layout, wire: memoryview, plain: PlainReader, precedent: Precedent, part: Part
) -> tuple[bytes, int]:
    """The delta, and how many bytes the older tokens stand for; empty where that is none."""
    segment, shape = part.segment, part.shape
    assert segment is not None
    assert shape is not None
    choice = newer.choices[segment.model]
    sides = precedent.stated_beside(choice, part) if not segment.recipe else []
    if not sides:
        return b"", 0
    real = wire[part.wire_start : part.wire_start + shape.wire_bytes]
    tokens = kernel.segment_tokens(real, shape.bit, segment.plain_length)
    delta, copied_bytes = kernel.token_delta(shape.start, tokens, sides)
    if not copied_bytes:
        return b"", 0
    source = plain.read(part.plain_offset, part.read_length)
    rebuilt = kernel.rebuild_segment(shape, source, choice.model_id, choice.member_param, b"", sides, delta)
    if rebuilt is None or not _same_bits(rebuilt, real, shape):
        raise ProofFailed("token delta: a segment does not rebuild by it")
    return delta, copied_bytes


def _same_bits(rebuilt: memoryview, real: memoryview, shape: kernel.SegmentShape) -> bool:
    """Whether both have the segment's bits; ``rebuilt`` has zeros around them."""
    if not rebuilt:
        return True
    behind = -(shape.bit + shape.wire_bits) % 8
    last = real[-1] & 0xFF >> behind
    first = (real[0] if len(real) > 1 else last) >> shape.bit << shape.bit
    return rebuilt[0] == first and rebuilt[1:-1] == real[1:-1] and (len(real) == 1 or rebuilt[-1] == last)


def segment_parts(layout: Layout) -> list[Part]:
    """Those parts of a blob that are segments."""
    return [part for part in parts_of(layout) if part.segment is not None]
