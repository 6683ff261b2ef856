"""From plain bytes back to wire bytes, segment by segment, ahead on workers.

Consecutive parts (`reducto.gzip.wire_parts`) of about a segment's size are rebuilt together as one *group*, so that a
blob of many small members costs few tasks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice

from reducto.container import PlainReader
from reducto.errors import Corrupt
from reducto.gzip.donor import Donor, FindDonor
from reducto.gzip.gzip_layout import DeflateSegment, GzipLayout
from reducto.gzip.planning import member_trailer
from reducto.gzip.wire_parts import WirePart, parts_of
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied
from reducto.values import ByteRange
from reducto.workers import Submit

GROUP_WIRE_BYTES = 256 << 10
#: The first group is a single segment while all workers are free, because somebody waits for the first byte.
FIRST_GROUP_WIRE_BYTES = 16 << 10
GROUPS_AHEAD = 4

#: An index range of parts, and the wire offset where the last of them ends.
Group = tuple[int, int, int]


def rebuild(
    layout: GzipLayout, plain: PlainReader, wire: ByteRange, submit: Submit | None, find_donor: FindDonor
) -> Iterator[bytes | memoryview]:
    """The wire bytes of ``wire`` in order; up to `GROUPS_AHEAD` groups are under way at once.

    A group that no worker has begun when it is needed is rebuilt by the calling thread, because all workers may be
    readers that wait for a group of their own.
    """
    parts = parts_of(layout)
    stop = min(wire.stop, layout.wire_length)
    starts = [part.wire_start for part in parts]
    first = max(0, bisect_right(starts, wire.start) - 1)
    groups = _groups(parts, first, stop, layout.wire_length)
    ahead = deque[tuple[Group, Future[bytes | memoryview] | None]]((group, None) for group in islice(groups, 1))

    def run(first: int, stop: int, wire_stop: int) -> bytes | memoryview:
        rebuilder = _SegmentRebuilder(layout, plain, find_donor())
        return _rebuild_group(rebuilder, parts, first, stop, wire_stop)

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


def _groups(parts: list[WirePart], first: int, wire_stop: int, wire_length: int) -> Iterator[Group]:
    """All groups from part ``first`` on up to ``wire_stop``."""
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


class _SegmentRebuilder:
    """Rebuilds segments of one blob, with a donor's tokens where there is one."""

    def __init__(self, layout: GzipLayout, plain: PlainReader, donor: Donor | None) -> None:
        self._layout = layout
        self.plain = plain
        self._donor = donor

    def segment(self, part: WirePart, segment: DeflateSegment, shape: kernel.SegmentShape) -> memoryview:
        """The wire bytes that hold a bit of the segment. Raises `Corrupt`."""
        choice, donor = self._layout.choices[segment.choice], self._donor
        source = self.plain.read(part.plain_offset, part.read_length) if part.read_length else b""
        how = (shape, source, choice.model_id, choice.member_param, segment.corrections)
        ranges, delta = donor.reuse(choice, part) if donor and not segment.corrections else ([], b"")
        wire = kernel.rebuild_segment(*how, ranges, delta)
        if wire is None and delta and donor:
            donor.drop_deltas()
            wire = kernel.rebuild_segment(*how)
        if wire is None:
            raise Corrupt("recipe: a segment does not rebuild from these plain bytes")
        if wire:
            wire[0] |= segment.shared_bits
        return wire


def _rebuild_group(
    rebuilder: _SegmentRebuilder, parts: list[WirePart], first: int, stop: int, wire_stop: int
) -> bytes | memoryview:
    out: list[bytes | memoryview] = []
    for index in range(first, stop):
        part = parts[index]
        length = (parts[index + 1].wire_start if index + 1 < stop else wire_stop) - part.wire_start
        if part.verbatim is not None:
            out.append(part.verbatim)
        elif part.segment is None or part.shape is None:
            out.append(member_trailer(rebuilder.plain.read(part.plain_offset, part.read_length)))
        else:
            out.append(rebuilder.segment(part, part.segment, part.shape)[:length])
    return out[0] if len(out) == 1 else copied(out)
