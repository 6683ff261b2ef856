"""A gzip blob's wire bytes as a sequence of parts: a header, a segment, a trailer, the trailing bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reducto.gzip.gzip_layout import DeflateSegment, GzipLayout, GzipMember
from reducto.kernel import gzip as kernel


@dataclass(frozen=True, slots=True)
class WirePart:
    """Wire bytes from ``wire_start`` to the next part: ``verbatim``, or a segment, or (neither) a computed trailer.

    A segment's part begins with the byte that holds its first bit, and ends before the byte in which the next segment
    begins.
    """

    wire_start: int
    verbatim: bytes | None = None
    segment: DeflateSegment | None = None
    shape: kernel.SegmentShape | None = None
    plain_offset: int = 0
    """Offset in the blob's plain bytes of the first byte that must be read to make this part."""
    read_length: int = 0
    """How many plain bytes must be read."""

    @property
    def segment_start(self) -> int:
        """Offset of a segment's first byte in the blob's plain bytes."""
        assert self.shape is not None
        return self.plain_offset + self.shape.start


def parts_of(layout: GzipLayout) -> list[WirePart]:
    """All parts in wire order."""
    parts: list[WirePart] = []
    wire = plain = 0
    for member in layout.members:
        parts.append(WirePart(wire, verbatim=member.header))
        wire += len(member.header)
        parts += _segment_parts(layout, member, wire, plain)
        member_plain = sum(segment.plain_length for segment in member.segments)
        wire += (sum(segment.wire_bits for segment in member.segments) + 7) // 8
        trailer = WirePart(wire, plain_offset=plain, read_length=member_plain)
        parts.append(trailer if member.trailer is None else WirePart(wire, verbatim=member.trailer))
        wire += 8
        plain += member_plain
    parts.append(WirePart(wire, verbatim=layout.trailing))
    return parts


def segment_parts(layout: GzipLayout) -> list[WirePart]:
    """The parts of a blob that are segments, in wire order."""
    return [part for part in parts_of(layout) if part.segment is not None]


def _segment_parts(layout: GzipLayout, member: GzipMember, wire: int, plain: int) -> Iterator[WirePart]:
    bit = offset = 0
    total = sum(segment.plain_length for segment in member.segments)
    for index, segment in enumerate(member.segments):
        model = layout.choices[segment.choice].model
        start = max(0, offset - model.warmup_bytes)
        stop = min(total, offset + segment.plain_length + model.lookahead_bytes)
        shape = kernel.SegmentShape(
            offset - start,
            offset + segment.plain_length - start,
            start,
            stop == total,
            index == len(member.segments) - 1,
            bit % 8,
            segment.wire_bits,
        )
        yield WirePart(wire + bit // 8, None, segment, shape, plain + start, stop - start)
        bit += segment.wire_bits
        offset += segment.plain_length
