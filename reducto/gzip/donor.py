"""An older blob by the same encoder, the donor, whose tokens spare the search for those of a newer blob.

What an encoder with hash chains writes at a place depends only on the bytes around that place. Where a newer blob has
the same bytes as an older one, the older wire bytes tell its tokens, and reading them is many times faster than
searching for matches. Only what differs, and what looks back at it, is searched for (`cext/deflate/token_reuse.h`).
Where a precomputed token delta says which tokens stay (`reducto.gzip.token_delta`), nothing of that is searched for,
and the older plain bytes are not needed.
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
from reducto.gzip.encoder_choice import EncoderChoice
from reducto.gzip.gzip_layout import DeflateSegment, GzipLayout
from reducto.gzip.wire_parts import WirePart, parts_of
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied
from reducto.kernel.matching import AlignedRange

#: Segments of the older blob whose tokens are kept: workers are at most eight segments apart.
_KEPT_SEGMENTS = 8

#: Asked for the donor before each group of segments is rebuilt, because it may be found later than the first bytes.
FindDonor = Callable[[], "Donor | None"]


class _Use(NamedTuple):
    """How an aligned range of the older blob is used."""

    least_bytes: int
    """Shorter ranges are left out."""
    lead_bytes: int
    """The tokens of so many bytes at its front are not used."""
    with_plain: bool
    """Whether the older plain bytes are compared."""


#: Compared byte by byte. The first 32 KiB only fill the encoder's window, so less than 64 KiB is not worth it.
_COMPARED = _Use(64 << 10, 32 << 10, True)
#: Described by a token delta, so no byte is compared.
_PRECOMPUTED = _Use(1, 0, False)


@dataclass(frozen=True, slots=True)
class _DonorSegment:
    segment: DeflateSegment
    shape: kernel.SegmentShape
    member_plain: int
    """Offset of its member's first byte in the older blob's plain bytes."""
    plain: int
    """Offset of its own first byte there."""
    wire: int
    """Wire offset of the byte that holds its first bit."""


class Donor:
    """An older blob with its wire bytes and its plain bytes at hand. Thread-safe.

    ``aligned`` says which plain bytes of the newer blob lie in parallel with plain bytes of this one, ascending in the
    newer blob. Without ``plain`` only token deltas can be applied. ``deltas`` are token deltas of the newer blob's
    segments against just these ranges, by the offset of each segment in the newer plain bytes.

    If reading the older blob fails, it is not used any more, and nothing is raised.
    """

    def __init__(
        self,
        layout: GzipLayout,
        wire: memoryview,
        plain: PlainReader | None,
        aligned: Sequence[AlignedRange],
        deltas: Mapping[int, bytes] | None = None,
    ) -> None:
        self._layout = layout
        self._wire = wire
        self._plain = plain
        self._aligned = list(aligned)
        self._starts = [each.offset for each in self._aligned]
        self.is_precomputed = deltas is not None
        """Whether it came with token deltas."""
        self._deltas = deltas or {}
        self._segments = [
            _DonorSegment(
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
        self.reused_bytes = 0
        """Plain bytes of the newer blob that were rebuilt with this one's tokens."""
        self.precomputed_bytes = 0
        """Plain bytes among `reused_bytes` that a token delta described."""

    @property
    def aligned_bytes(self) -> int:
        """Plain bytes of the newer blob in aligned ranges that are long enough to be used."""
        return sum(each.length for each in self._aligned if each.length >= _COMPARED.least_bytes)

    def reuse(self, choice: EncoderChoice, part: WirePart) -> tuple[list[kernel.DonorRange], bytes]:
        """The donor ranges for a segment of the newer blob, which ``choice`` compresses, and its token delta if any."""
        delta = self._deltas.get(part.segment_start, b"")
        ranges = self._ranges(choice, part, _PRECOMPUTED if delta else _COMPARED)
        length = sum(each.end - each.begin for each in ranges)
        self.reused_bytes += length
        self.precomputed_bytes += length if delta else 0
        return ranges, delta if ranges else b""

    def delta_ranges(self, choice: EncoderChoice, part: WirePart) -> list[kernel.DonorRange]:
        """The donor ranges that a token delta of the segment refers to."""
        return self._ranges(choice, part, _PRECOMPUTED)

    def drop_deltas(self) -> None:
        """Uses no token delta any more, because one was wrong."""
        self._deltas = {}

    # -- inside

    def _ranges(self, choice: EncoderChoice, part: WirePart, use: _Use) -> list[kernel.DonorRange]:
        if not self._usable or not choice.model.reuses_tokens or (use.with_plain and self._plain is None):
            return []
        start, stop = part.plain_offset, part.plain_offset + part.read_length
        found = []
        first = max(0, bisect_right(self._starts, start) - 1)
        try:
            for each in self._aligned[first:]:
                if each.offset >= stop:
                    break
                low, high = max(each.offset, start), min(each.offset + each.length, stop)
                if high - low >= use.least_bytes:
                    found += self._range(choice, low - start, low - each.offset + each.donor_offset, high - low, use)
        except (ReductoError, OSError, ValueError):
            self._usable = False
            return []
        return found

    def _range(
        self, choice: EncoderChoice, begin: int, donor_offset: int, length: int, use: _Use
    ) -> list[kernel.DonorRange]:
        """One aligned range, as much of it as lies in consecutive segments that ``choice`` made without correction."""
        at = bisect_right(self._plains, donor_offset + use.lead_bytes) - 1 if donor_offset else 0
        if at < 0 or not self._is_exact(at, choice):
            return []
        first, stop = self._segments[at], at
        while (
            stop < len(self._segments)
            and self._segments[stop].plain < donor_offset + length
            and self._segments[stop].member_plain == first.member_plain
            and self._is_exact(stop, choice)
        ):
            stop += 1
        last = self._segments[stop - 1]
        length = min(length, last.plain + last.segment.plain_length - donor_offset)
        if length < use.least_bytes or donor_offset < first.member_plain:
            return []
        if not use.with_plain:
            return [self._in_segment(number, begin, donor_offset, length) for number in range(at, stop)]
        assert self._plain is not None
        tokens = [self._tokens_of(number) for number in range(at, stop)]
        return [
            kernel.DonorRange(
                begin,
                begin + length,
                self._plain.read(donor_offset, length),
                donor_offset - first.member_plain,
                tokens[0] if len(tokens) == 1 else copied(tokens),
                begin + first.plain - donor_offset,
            )
        ]

    def _in_segment(self, number: int, begin: int, donor_offset: int, length: int) -> kernel.DonorRange:
        """The part of an aligned range that lies in one segment: its tokens, without plain bytes."""
        old = self._segments[number]
        low, high = max(donor_offset, old.plain), min(donor_offset + length, old.plain + old.segment.plain_length)
        shift = begin - donor_offset
        return kernel.DonorRange(
            low + shift, high + shift, b"", low - old.member_plain, self._tokens_of(number), old.plain + shift
        )

    def _is_exact(self, number: int, choice: EncoderChoice) -> bool:
        segment = self._segments[number].segment
        return not segment.corrections and self._layout.choices[segment.choice] == choice

    def _tokens_of(self, number: int) -> memoryview:
        """The tokens of one segment. The first caller reads them, and others that need them meanwhile wait for it."""
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

    def _read_tokens(self, old: _DonorSegment) -> memoryview:
        wire = self._wire[old.wire : old.wire + old.shape.wire_bytes]
        return kernel.segment_tokens(wire, old.shape.bit, old.segment.plain_length)
