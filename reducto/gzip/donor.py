"""An older blob by the same encoder, whose tokens save the search for those of a newer one.

What an encoder with hash chains writes at a place depends on the bytes around it alone. Where a newer blob has the
same bytes as an older one, the older one's wire bytes tell its tokens at many times the speed of finding them; only
what differs, and what looks back at it, is searched for (`cext/deflate/token_reuse.h`). Where somebody has stated which
tokens stay (`reducto.gzip.token_delta`), nothing of that is looked for, and the older plain bytes are not needed.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from reducto.container import PlainReader
from reducto.errors import ReductoError
from reducto.gzip.gzip_layout import Layout, Segment
from reducto.gzip.planning import Choice
from reducto.gzip.wire_parts import Part, parts_of
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied
from reducto.kernel.matching import AlignedRange

#: Segments of the older blob whose tokens are kept: workers are at most so far apart.
_KEPT_SEGMENTS = 8

#: Where a rebuild finds its precedent, from one moment to the next: it may come later than the first bytes.
FindDonor = Callable[[], "Precedent | None"]


class _Use(NamedTuple):
    """How a stretch of the older blob is used."""

    least_bytes: int
    lead_bytes: int
    """At its front, whose tokens are of no use."""
    with_plain: bool


#: A shorter stretch is not worth it: its first 32 KiB only fill the window.
_FOLLOWED = _Use(64 << 10, 32 << 10, True)
_STATED = _Use(1, 0, False)


@dataclass(frozen=True, slots=True)
class _OldSegment:
    segment: Segment
    shape: kernel.SegmentShape
    member_plain: int
    """Plain offset of its member's first byte in the blob."""
    plain: int
    wire: int
    """Of the byte that holds its first bit."""


class Precedent:
    """An older blob with its wire bytes and its plain bytes at hand. Thread-safe.

    Any failure to read it only means that it is not used any more.
    """

    def __init__(
        self,
        layout: Layout,
        wire: memoryview,
        plain: PlainReader | None,
        parallels: Sequence[AlignedRange],
        deltas: Mapping[int, bytes] | None = None,
    ) -> None:
        """``parallels`` say where the newer blob's plain bytes run beside these, ascending on the newer one's side.
        Without ``plain`` it is only good for deltas.

        ``deltas``: those of the newer blob's segments, by where these begin in its plain bytes, for just these
        parallels.
        """
        self._layout = layout
        self._wire = wire
        self._plain = plain
        self._parallels = list(parallels)
        self._starts = [each.offset for each in self._parallels]
        self._deltas = deltas or {}
        self._segments = [
            _OldSegment(
                part.segment,
                part.shape,
                part.plain_offset - part.shape.offset,
                part.segment_start,
                part.wire_start,
            )
            for part in parts_of(layout)
            if part.segment is not None and part.shape is not None
        ]
        self._plains = [each.plain for each in self._segments]
        self._tokens: OrderedDict[int, Future[memoryview]] = OrderedDict()
        self._lock = threading.Lock()
        self._usable = True
        self.beside_bytes = 0
        """Plain bytes of the newer blob that were rebuilt beside this one."""
        self.stated_bytes = 0
        """Those of them that a delta told of."""

    @property
    def parallel_bytes(self) -> int:
        """Plain bytes of the newer blob that stand beside this one's, in stretches that can be followed."""
        return sum(each.length for each in self._parallels if each.length >= _FOLLOWED.least_bytes)

    def beside(self, choice: Choice, part: Part) -> tuple[list[kernel.DonorRange], bytes]:
        """What stands beside a segment of the newer blob, which ``choice`` compresses; and its delta, if it has one."""
        delta = self._deltas.get(part.segment_start, b"")
        sides = self._sides(choice, part, _STATED if delta else _FOLLOWED)
        length = sum(each.end - each.begin for each in sides)
        self.beside_bytes += length
        self.stated_bytes += length if delta else 0
        return sides, delta if sides else b""

    def stated_beside(self, choice: Choice, part: Part) -> list[kernel.DonorRange]:
        """What a delta of the segment is against."""
        return self._sides(choice, part, _STATED)

    def distrust(self) -> None:
        """Its deltas are not believed any more."""
        self._deltas = {}

    # -- inside

    def _sides(self, choice: Choice, part: Part, use: _Use) -> list[kernel.DonorRange]:
        if not self._usable or not choice.model.reuses_tokens or (use.with_plain and self._plain is None):
            return []
        start, stop = part.plain_offset, part.plain_offset + part.read_length
        found = []
        first = max(0, bisect_right(self._starts, start) - 1)
        try:
            for each in self._parallels[first:]:
                if each.offset >= stop:
                    break
                low, high = max(each.offset, start), min(each.offset + each.length, stop)
                if high - low >= use.least_bytes:
                    found += self._side(choice, low - start, low - each.offset + each.donor_offset, high - low, use)
        except (ReductoError, OSError, ValueError):
            self._usable = False
            return []
        return found

    def _side(self, choice: Choice, begin: int, theirs: int, length: int, use: _Use) -> list[kernel.DonorRange]:
        """One stretch, as much of it as lies in consecutive segments that this very encoder made without correction."""
        at = bisect_right(self._plains, theirs + use.lead_bytes) - 1 if theirs else 0
        if at < 0 or not self._is_exact(at, choice):
            return []
        first, stop = self._segments[at], at
        while (
            stop < len(self._segments)
            and self._segments[stop].plain < theirs + length
            and self._segments[stop].member_plain == first.member_plain
            and self._is_exact(stop, choice)
        ):
            stop += 1
        last = self._segments[stop - 1]
        length = min(length, last.plain + last.segment.plain_length - theirs)
        if length < use.least_bytes or theirs < first.member_plain:
            return []
        if not use.with_plain:
            return [self._in_segment(number, begin, theirs, length) for number in range(at, stop)]
        assert self._plain is not None
        tokens = [self._tokens_of(number) for number in range(at, stop)]
        return [
            kernel.DonorRange(
                begin,
                begin + length,
                self._plain.read(theirs, length),
                theirs - first.member_plain,
                tokens[0] if len(tokens) == 1 else copied(tokens),
                begin + first.plain - theirs,
            )
        ]

    def _in_segment(self, number: int, begin: int, theirs: int, length: int) -> kernel.DonorRange:
        """What of a stretch lies in one segment, tokens alone."""
        old = self._segments[number]
        low, high = max(theirs, old.plain), min(theirs + length, old.plain + old.segment.plain_length)
        shift = begin - theirs
        return kernel.DonorRange(
            low + shift, high + shift, b"", low - old.member_plain, self._tokens_of(number), old.plain + shift
        )

    def _is_exact(self, number: int, choice: Choice) -> bool:
        segment = self._segments[number].segment
        return not segment.recipe and self._layout.choices[segment.model] == choice

    def _tokens_of(self, number: int) -> memoryview:
        with self._lock:
            future = self._tokens.get(number)
            mine = future is None
            if future is None:
                future = self._tokens[number] = Future()
                while len(self._tokens) > _KEPT_SEGMENTS:
                    self._tokens.popitem(last=False)
            else:
                self._tokens.move_to_end(number)
        if mine:
            try:
                future.set_result(self._read_tokens(self._segments[number]))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def _read_tokens(self, old: _OldSegment) -> memoryview:
        wire = self._wire[old.wire : old.wire + old.shape.wire_bytes]
        return kernel.segment_tokens(wire, old.shape.bit, old.segment.plain_length)
