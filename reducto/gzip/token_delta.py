"""A token delta: the tokens of a newer gzip blob as differences from an older one's (`cext/deflate/token_delta.h`).

It is computed once, from both blobs: which tokens stay, and what the others are. With it and the older blob, the newer
one is rebuilt without searching for matches except where it has new bytes. A token delta is a hint: a blob that is
rebuilt with it is proved as always.

::

    magic (8) | u16 version | u16 zero | BLAKE3 of the rest (32) | zstd frame

The frame holds numbers in LEB128: wire lengths of the newer and the older blob; the count of aligned ranges, each with
the distance from the end of the range before to its plain bytes in the newer blob, their offset in the older one, their
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
from reducto.gzip.donor import Donor
from reducto.gzip.gzip_layout import GzipLayout
from reducto.gzip.wire_parts import WirePart, segment_parts
from reducto.kernel import gzip as kernel
from reducto.kernel.matching import AlignedRange
from reducto.varint import NumberReader, put_numbers

MAGIC = b"\x89RDT\r\n\x1a\n"
VERSION = 1
#: What a reader takes into memory at once.
TOKEN_DELTA_LIMIT_BYTES = 64 << 20
_HEAD = struct.Struct("<8sHH32s")
_COUNT_LIMIT = 1 << 20
#: If the older tokens stand for a smaller share of the newer blob's bytes, a delta saves too little time to be kept.
_LEAST_SHARE = 1 / 8
#: Shorter aligned ranges are left out.
_LEAST_RANGE_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """A newer blob's token delta against an older one, the donor."""

    wire_length: int
    donor_wire_length: int
    aligned: Sequence[AlignedRange]
    """Which plain bytes of the two lie in parallel (`reducto.kernel.matching.aligned_ranges`)."""
    deltas: Sequence[bytes]
    """One for each segment of the newer blob in wire order; an empty one stands for none."""

    def to_bytes(self) -> bytes:
        """The serialised form that `from_bytes` reads."""
        body = bytearray()
        put_numbers(body, self.wire_length, self.donor_wire_length, len(self.aligned))
        end = 0
        for each in self.aligned:
            put_numbers(body, each.offset - end, each.donor_offset, each.length)
            end = each.offset + each.length
        put_numbers(body, len(self.deltas), *map(len, self.deltas))
        body += b"".join(self.deltas)
        packed = zstandard.ZstdCompressor(level=19).compress(bytes(body))
        return _HEAD.pack(MAGIC, VERSION, 0, blake3(packed).digest()) + packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The token delta that `to_bytes` wrote. Raises `Corrupt` for anything else, unknown versions included."""
        if len(data) < _HEAD.size or not data.startswith(MAGIC):
            raise Corrupt("token delta: not a token delta")
        _, version, zero, digest = _HEAD.unpack_from(data)
        if (version, zero) != (VERSION, 0):
            raise Corrupt(f"token delta: version {version} is unknown; a newer Reducto wrote it")
        packed = data[_HEAD.size :]
        if blake3(packed).digest() != digest:
            raise Corrupt("token delta: damaged or cut off")
        reader = NumberReader(bounded.decompress(packed, TOKEN_DELTA_LIMIT_BYTES, "token delta"), "token delta")
        wire_length, donor_wire_length = reader.take(), reader.take()
        aligned, end = [], 0
        for _ in range(reader.take(_COUNT_LIMIT)):
            each = AlignedRange(end + reader.take(), reader.take(), reader.take())
            aligned.append(each)
            end = each.offset + each.length
        lengths = reader.take_many(reader.take(_COUNT_LIMIT))
        deltas = [reader.take_bytes(length) for length in lengths]
        reader.finish()
        return cls(wire_length, donor_wire_length, aligned, deltas)

    def by_segment_start(self, newer: GzipLayout) -> dict[int, bytes]:
        """The deltas by the offset of their segments in the newer blob's plain bytes. Raises `Corrupt`."""
        parts = segment_parts(newer)
        if len(parts) != len(self.deltas) or newer.wire_length != self.wire_length:
            raise Corrupt("token delta: of another blob")
        return {part.segment_start: delta for part, delta in zip(parts, self.deltas, strict=True) if delta}


def make_token_delta(
    newer: GzipLayout,
    newer_wire: memoryview,
    newer_plain: PlainReader,
    older: GzipLayout,
    older_wire: memoryview,
    aligned: Sequence[AlignedRange],
) -> TokenDelta | None:
    """A newer blob's token delta against an older one, proved.

    It is None where the older tokens would stand for less than an eighth of the newer plain bytes. ``aligned`` says
    which plain bytes of the two lie in parallel. Raises `Corrupt`, `ProofFailed`, and what reading the plain bytes
    raises.
    """
    ranges = [each for each in aligned if each.length >= _LEAST_RANGE_BYTES]
    donor = Donor(older, older_wire, None, ranges)
    deltas, copied_bytes = [], 0
    for part in segment_parts(newer):
        delta, length = _segment_delta(newer, newer_wire, newer_plain, donor, part)
        deltas.append(delta)
        copied_bytes += length
    if copied_bytes < newer.plain_length * _LEAST_SHARE:
        return None
    return TokenDelta(newer.wire_length, older.wire_length, ranges, deltas)


def _segment_delta(
    newer: GzipLayout, wire: memoryview, plain: PlainReader, donor: Donor, part: WirePart
) -> tuple[bytes, int]:
    """The delta, and how many plain bytes the older tokens stand for; an empty delta if that is none."""
    segment, shape = part.segment, part.shape
    assert segment is not None
    assert shape is not None
    choice = newer.choices[segment.choice]
    ranges = donor.delta_ranges(choice, part) if not segment.corrections else []
    if not ranges:
        return b"", 0
    real = wire[part.wire_start : part.wire_start + shape.wire_bytes]
    tokens = kernel.segment_tokens(real, shape.bit, segment.plain_length)
    delta, copied_bytes = kernel.token_delta(shape.start, tokens, ranges)
    if not copied_bytes:
        return b"", 0
    source = plain.read(part.plain_offset, part.read_length)
    rebuilt = kernel.rebuild_segment(shape, source, choice.model_id, choice.member_param, b"", ranges, delta)
    if rebuilt is None or not _same_bits(rebuilt, real, shape):
        raise ProofFailed("token delta: a segment does not rebuild by it")
    return delta, copied_bytes


def _same_bits(rebuilt: memoryview, real: memoryview, shape: kernel.SegmentShape) -> bool:
    """Whether both have the same bits within the segment. In ``rebuilt``, the bits around the segment are 0."""
    if not rebuilt:
        return True
    behind = -(shape.bit + shape.wire_bits) % 8
    last = real[-1] & 0xFF >> behind
    first = (real[0] if len(real) > 1 else last) >> shape.bit << shape.bit
    return rebuilt[0] == first and rebuilt[1:-1] == real[1:-1] and (len(real) == 1 or rebuilt[-1] == last)
