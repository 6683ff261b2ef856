"""From plain bytes back to wire bytes, segment by segment, ahead on workers.

The wire is a sequence of *parts* (a header, a segment, a trailer, the trailing bytes). Consecutive parts of
about a segment's size are rebuilt together as one *group*, so that a blob of many small members costs few tasks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from reducto.errors import Corrupt
from reducto.gzip.layout import Layout, Member, Segment
from reducto.gzip.planning import member_trailer
from reducto.gzip.precedent import FindPrecedent, Precedent
from reducto.kernel import gzip as kernel
from reducto.model import ByteRange
from reducto.recipe import PlainSource, Submit

GROUP_WIRE_BYTES = 256 << 10
#: The first group is one segment, rebuilt with all workers at its service, for somebody waits for the first byte.
FIRST_GROUP_WIRE_BYTES = 16 << 10
GROUPS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Wire bytes from ``wire_start`` to the next part: ``verbatim``, or a segment, or (neither) a computed trailer.

    A segment's part begins with the byte that holds its first bit and ends before the byte in which the next
    one begins.
    """

    wire_start: int
    verbatim: bytes | None = None
    segment: Segment | None = None
    shape: kernel.SegmentShape | None = None
    plain_offset: int = 0
    """Of the first byte to read for it, in the blob's plain bytes."""
    read_length: int = 0


def parts_of(layout: Layout) -> list[Part]:
    """All parts in wire order."""
    parts: list[Part] = []
    wire = plain = 0
    for member in layout.members:
        parts.append(Part(wire, verbatim=member.header))
        wire += len(member.header)
        parts += _segment_parts(layout, member, wire, plain)
        member_plain = sum(segment.plain_length for segment in member.segments)
        wire += (sum(segment.wire_bits for segment in member.segments) + 7) // 8
        trailer = Part(wire, plain_offset=plain, read_length=member_plain)
        parts.append(trailer if member.trailer is None else Part(wire, verbatim=member.trailer))
        wire += 8
        plain += member_plain
    parts.append(Part(wire, verbatim=layout.trailing))
    return parts


def _segment_parts(layout: Layout, member: Member, wire: int, plain: int) -> Iterator[Part]:
    bit = offset = 0
    total = sum(segment.plain_length for segment in member.segments)
    for index, segment in enumerate(member.segments):
        model = layout.choices[segment.model].model
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
        yield Part(wire + bit // 8, None, segment, shape, plain + start, stop - start)
        bit += segment.wire_bits
        offset += segment.plain_length


def rebuild(
    layout: Layout, plain: PlainSource, wire: ByteRange, submit: Submit | None, find_precedent: FindPrecedent
) -> Iterator[bytes]:
    """The wire bytes of ``wire`` in order; up to `GROUPS_AHEAD` groups are under way at once.

    A group that no worker has begun when it is needed is rebuilt here: all workers may be readers that wait like us.
    """
    parts = parts_of(layout)
    stop = min(wire.stop, layout.wire_length)
    starts = [part.wire_start for part in parts]
    first = max(0, bisect_right(starts, wire.start) - 1)
    groups = _groups(parts, first, stop, layout.wire_length)
    ahead = deque[tuple[tuple[int, int, int], Future[bytes] | None]]((group, None) for group in islice(groups, 1))

    def run(first: int, stop: int, wire_stop: int) -> bytes:
        return _rebuild_group(layout, plain, find_precedent(), parts, first, stop, wire_stop)

    try:
        while ahead:
            group, future = ahead.popleft()
            here = future is None or future.cancel()
            data = run(*group) if here or future is None else future.result()
            at = parts[group[0]].wire_start
            low, high = max(0, wire.start - at), stop - at
            if low < min(high, len(data)):
                yield data if low == 0 and high >= len(data) else data[low:high]
            for group in islice(groups, (GROUPS_AHEAD if submit else 1) - len(ahead)):
                ahead.append((group, submit(run, *group) if submit else None))
    finally:
        for _, future in ahead:
            if future is not None:
                future.cancel()


def _groups(parts: list[Part], first: int, wire_stop: int, wire_length: int) -> Iterator[tuple[int, int, int]]:
    """Index ranges of parts, with the wire position where the last of them ends."""
    index, most = first, FIRST_GROUP_WIRE_BYTES
    while index < len(parts) and (parts[index].wire_start < wire_stop):
        end = index + 1
        while end < len(parts) and parts[end].wire_start - parts[index].wire_start < most and (
            parts[end].wire_start < wire_stop
        ):  # fmt: skip
            end += 1
        most = GROUP_WIRE_BYTES
        yield index, end, parts[end].wire_start if end < len(parts) else wire_length
        index = end


def _rebuild_group(
    layout: Layout,
    plain: PlainSource,
    precedent: Precedent | None,
    parts: list[Part],
    first: int,
    stop: int,
    wire_stop: int,
) -> bytes:
    out: list[bytes | memoryview] = []
    for index in range(first, stop):
        part = parts[index]
        length = (parts[index + 1].wire_start if index + 1 < stop else wire_stop) - part.wire_start
        if part.verbatim is not None:
            out.append(part.verbatim)
        elif part.segment is None or part.shape is None:
            out.append(member_trailer(plain.read(part.plain_offset, part.read_length)))
        else:
            wire = _rebuild_segment(layout, plain, precedent, part, part.segment, part.shape)
            out.append(memoryview(wire)[:length])
    return b"".join(out)


def _rebuild_segment(
    layout: Layout,
    plain: PlainSource,
    precedent: Precedent | None,
    part: Part,
    segment: Segment,
    shape: kernel.SegmentShape,
) -> bytearray:
    choice = layout.choices[segment.model]
    source = plain.read(part.plain_offset, part.read_length) if part.read_length else b""
    sides = precedent.beside(choice, part.plain_offset, part.read_length) if precedent and not segment.recipe else []
    wire = kernel.rebuild_segment(shape, source, choice.model_id, choice.member_param, segment.recipe, sides)
    if wire is None:
        raise Corrupt("recipe: a segment does not rebuild from these plain bytes")
    if wire:
        wire[0] |= segment.shared_bits
    return wire
