"""An older blob by the same encoder, whose tokens save the search for those of a newer one.

What an encoder with hash chains writes at a place depends on the bytes around it alone. Where a newer blob has the
same bytes as an older one, the older one's wire bytes tell its tokens at many times the speed of finding them; only
what differs, and what looks back at it, is searched for (`cext/deflate/precedent.h`).
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from reducto.errors import ReductoError
from reducto.gzip.layout import Layout, Segment
from reducto.gzip.parts import parts_of
from reducto.gzip.planning import Choice
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied
from reducto.kernel.matching import Parallel
from reducto.recipe import PlainSource

#: A shorter stretch is not worth it: its first 32 KiB only fill the window.
LEAST_BYTES = 64 << 10
_HISTORY_BYTES = 32 << 10
#: Segments of the older blob whose tokens are kept: workers are at most so far apart.
_KEPT_SEGMENTS = 8

#: Where a rebuild finds its precedent, from one moment to the next: it may come later than the first bytes.
FindPrecedent = Callable[[], "Precedent | None"]


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

    def __init__(self, layout: Layout, wire: memoryview, plain: PlainSource, parallels: Sequence[Parallel]) -> None:
        """``parallels`` say where the newer blob's plain bytes run beside these, ascending on the newer one's side."""
        self._layout = layout
        self._wire = wire
        self._plain = plain
        self._parallels = [each for each in parallels if each.length >= LEAST_BYTES]
        self._starts = [each.ours for each in self._parallels]
        self._segments = [
            _OldSegment(
                part.segment,
                part.shape,
                part.plain_offset - part.shape.offset,
                part.plain_offset + part.shape.start,
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

    @property
    def parallel_bytes(self) -> int:
        """Plain bytes of the newer blob that stand beside this one's."""
        return sum(each.length for each in self._parallels)

    def beside(self, choice: Choice, plain_offset: int, length: int) -> list[kernel.Precedent]:
        """What stands beside ``length`` bytes from ``plain_offset`` of the newer blob, which ``choice`` compresses."""
        if not self._usable or not choice.model.follows:
            return []
        found = []
        first = max(0, bisect_right(self._starts, plain_offset) - 1)
        try:
            for each in self._parallels[first:]:
                if each.ours >= plain_offset + length:
                    break
                low, high = max(each.ours, plain_offset), min(each.ours + each.length, plain_offset + length)
                if high - low >= LEAST_BYTES:
                    found += self._side(choice, low - plain_offset, low - each.ours + each.theirs, high - low)
        except (ReductoError, OSError, ValueError):
            self._usable = False
            return []
        self.beside_bytes += sum(each.end - each.begin for each in found)
        return found

    def _side(self, choice: Choice, begin: int, theirs: int, length: int) -> list[kernel.Precedent]:
        """One stretch, as much of it as lies in consecutive segments that this very encoder made without correction."""
        at = bisect_right(self._plains, theirs + _HISTORY_BYTES) - 1 if theirs else 0
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
        if length < LEAST_BYTES or theirs < first.member_plain:
            return []
        tokens = [self._tokens_of(number) for number in range(at, stop)]
        return [
            kernel.Precedent(
                begin,
                begin + length,
                self._plain.read(theirs, length),
                theirs - first.member_plain,
                tokens[0] if len(tokens) == 1 else copied(tokens),
                begin + first.plain - theirs,
            )
        ]

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
