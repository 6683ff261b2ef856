"""One deflate stream: inflated into a sliding window of plain bytes, and cut into segments for the planner."""

from __future__ import annotations

from collections.abc import Callable

from reducto.gzip.block_starts import BlockStarts
from reducto.gzip.classification import MemberSample, classify
from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.encoder_choice import EncoderChoice, EncoderEvidence
from reducto.gzip.planning import PlannedSegment, SegmentJob
from reducto.gzip.wire_buffer import WireBuffer
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied, copy_bytes, uncleared

#: Plain bytes looked at before the encoder is named.
SAMPLE_BYTES = 4 << 20
#: Length of the window of plain bytes. It grows only for a longer deflate block.
WINDOW_BYTES = 12 << 20
#: A segment also ends at a block boundary after so many wire bytes, because empty blocks are wire bytes without plain.
SEGMENT_WIRE_BYTES = 8 << 20
#: Inflating goes on only while so many bytes of the window are free.
_LEAST_FREE_BYTES = 1 << 20
#: The window is doubled when less than this would be free after moving what is kept to its front.
_LEAST_MOVED_FREE_BYTES = 2 << 20
#: RFC 1951: a match reaches 32 KiB back, so inflating needs them.
_HISTORY_BYTES = 1 << 15
#: Blocks kept for the classifier.
_SAMPLE_BLOCKS = 4096
#: Segments of a blob for which all models may be tried without finding an exact one.
_VAIN_TRIALS = 3
#: A segment that has this many times the wanted length ends at any block, aligned or not.
_UNALIGNED_AFTER_SEGMENTS = 4

Sink = Callable[[memoryview], None]
Dispatch = Callable[[SegmentJob, int], None]


class PlainLimitReached(Exception):
    """The blob's plain bytes go beyond a limit."""


class NoEncoderModel(Exception):
    """No encoder model can be used: none fits, or blocks are too long or too many for one segment."""


class MemberReader:
    """Reads the deflate streams of a blob's members, one after the other.

    Each stream begins at the front of ``wire`` when `begin` is called. Bytes that were read stay in ``wire`` until
    their segment was dispatched, and the member's end until `end`.
    """

    def __init__(self, limits: ContainerLimits, wire: WireBuffer) -> None:
        self._limits = limits
        self._wire = wire
        self._inflater = kernel.Inflater()
        self._plain = memoryview(b"")
        self._blob_plain = self._blob_wire = 0
        self._warmup = max(model.warmup_bytes for model in kernel.models().values())
        self._lookahead = max(model.lookahead_bytes for model in kernel.models().values())
        self._vain_trials = 0
        self._hint: tuple[EncoderChoice, ...] = ()
        self.choices: tuple[EncoderChoice, ...] = ()

    def begin(self, header: bytes) -> None:
        """Begins a new member."""
        self._inflater.reset()
        self._header = header
        self._hint, self.choices = self.choices or self._hint, ()
        self._plain_base = 0  # offset in the member of the first byte of _plain
        self._used = 0  # bytes of _plain that are filled
        self._wire_base = 0  # offset in the deflate stream of the first byte of _wire
        self._wire_at = 0  # the first byte of _wire that is not inflated yet
        self._all_tried = False
        self._starts = BlockStarts()  # the first one is where the next segment begins
        self._next_start = 1
        self._raw_blocks = bytearray()

    def learn_from(self, planned: PlannedSegment) -> None:
        """Takes the outcome of planning a segment into account.

        From now on a model that was exact where the chosen one was not comes first.
        """
        if not planned.all_tried:
            return
        if planned.exact:
            self._hint = (planned.choice,)
            if self.choices:
                self.choices = (planned.choice, *(choice for choice in self.choices[:2] if choice != planned.choice))
        else:
            self._vain_trials += 1

    def read(self, sink: Sink, dispatch: Dispatch) -> bool:
        """Inflates all bytes of ``wire``, or up to the stream's end: then it returns True."""
        while True:
            self._free_space()
            before, wire_before = self._used, self._wire_at
            with self._wire.view() as wire:
                status, self._wire_at, self._used = self._inflater.run(wire, self._wire_at, self._plain, self._used)
            self._blob_wire += self._wire_at - wire_before
            self._note_blocks()
            if self._used > before:
                self._hand_out(before, sink)
            if status == kernel.DONE:
                self._note_end()
                return True
            self._cut(dispatch)
            if status == kernel.NEEDS_INPUT:
                return False

    @property
    def wire_length(self) -> int:
        """At the stream's end: how many bytes of ``wire`` belong to it; the others follow it."""
        return self._wire_at + (self._inflater.bit > 0)

    def end(self, trailer: bytes, dispatch: Dispatch) -> None:
        """Dispatches what is left of the member, whose trailer is ``trailer``, and drops its last wire bytes."""
        if not self.choices:
            self._classify(complete=True)
        self._cut(dispatch, complete=True)
        first = self._starts[0][1] == 0
        self._dispatch(len(self._starts) - 1, dispatch, complete=True, trailer=trailer if first else b"")
        self._wire.drop(self.wire_length)

    @property
    def _plain_total(self) -> int:
        return self._plain_base + self._used

    def _hand_out(self, before: int, sink: Sink) -> None:
        self._blob_plain += self._used - before
        if self._blob_plain > self._limits.plain_limit_bytes:
            raise PlainLimitReached(f"more than {self._limits.plain_limit_bytes} plain bytes")
        if self._blob_plain > max(self._limits.expansion_floor_bytes, self._limits.expansion_limit * self._blob_wire):
            raise PlainLimitReached(f"more than {self._limits.expansion_limit} plain bytes for each of the wire")
        with memoryview(self._plain) as view, view[before : self._used] as inflated:
            sink(inflated)

    def _note_blocks(self) -> None:
        if len(self._raw_blocks) < _SAMPLE_BLOCKS * kernel.BLOCK.size:
            self._raw_blocks += self._inflater.ended()
        self._starts.add(*self._inflater.entered())
        if len(self._starts) > self._limits.block_limit_count:
            raise NoEncoderModel(f"more than {self._limits.block_limit_count} deflate blocks in one segment")

    def _free_space(self) -> None:
        """Moves the plain bytes that are still needed to the front of the window if there is too little space left.

        Needed are those from the next segment's warm-up on.
        """
        if len(self._plain) - self._used >= _LEAST_FREE_BYTES:
            return
        start = self._starts[0][1] if self._starts else 0
        drop = max(0, start - max(self._warmup, _HISTORY_BYTES) - self._plain_base)
        kept = self._used - drop
        capacity = max(WINDOW_BYTES, len(self._plain))
        if kept > capacity - _LEAST_MOVED_FREE_BYTES:
            capacity = 2 * capacity
        if kept > self._limits.block_limit_bytes:
            raise NoEncoderModel(f"no segment ends within {self._limits.block_limit_bytes} plain bytes")
        if drop or capacity != len(self._plain):
            window = self._plain if capacity == len(self._plain) else uncleared(capacity)
            with memoryview(self._plain) as view:
                copy_bytes(view[drop : self._used], window)
            self._plain, self._plain_base, self._used = window, self._plain_base + drop, kept

    def _note_end(self) -> None:
        """Adds the end of the stream to the block starts."""
        bit = self._inflater.bit
        if bit and self._wire.view()[self._wire_at] >> bit:
            raise NoEncoderModel("bits are set behind the final block")
        self._starts.append((self._wire_base + self._wire_at) * 8 + bit, self._plain_total)

    def _classify(self, complete: bool) -> bool:
        """Sets ``choices``. Returns False if more of the stream is needed."""
        with memoryview(self._plain) as view, view[: self._used] as plain, self._wire.view() as wire:
            sample = MemberSample(plain, wire, self._starts, complete, self._evidence())
            choices = classify(sample, self._hint)
            self._all_tried = sample.is_one_trial and not self._hint
        if choices is None:
            return False
        if not choices:
            raise NoEncoderModel("no encoder model comes near this stream")
        self.choices = choices
        return True

    def _evidence(self) -> EncoderEvidence:
        return EncoderEvidence(self._header, bytes(self._raw_blocks))

    def _cut(self, dispatch: Dispatch, complete: bool = False) -> None:
        """Dispatches every segment whose end is certain."""
        if not self.choices:
            enough = self._plain_total >= SAMPLE_BYTES or len(self._wire) >= 2 * SAMPLE_BYTES
            if not enough or len(self._starts) < 2 or not self._classify(complete=False):
                return
        while self._next_start < len(self._starts) - complete:
            index = self._next_start
            plain = self._starts[index][1]
            known = index + 1 < len(self._starts)
            behind = self._starts[index + 1][1] if known else self._plain_total
            if not complete and ((behind == plain and not known) or self._plain_total < plain + self._lookahead):
                return
            if behind > plain and self._may_cut(index):
                self._dispatch(index, dispatch, complete)
            else:
                self._next_start += 1

    def _may_cut(self, index: int) -> bool:
        """Whether a segment may end where block ``index`` starts."""
        (first_bit, first_plain), (bit, plain) = self._starts[0], self._starts[index]
        if not self.choices:
            return True
        model = self.choices[0].model
        if bit - first_bit >= 8 * SEGMENT_WIRE_BYTES:
            return True
        length = plain - first_plain
        long = length >= _UNALIGNED_AFTER_SEGMENTS * model.segment_bytes
        aligned = not model.align_bytes or plain % model.align_bytes == 0 or long
        return length >= model.segment_bytes and aligned

    def _dispatch(self, index: int, dispatch: Dispatch, complete: bool, trailer: bytes = b"") -> None:
        """Hands out the segment of the blocks before block ``index``, where the next segment begins."""
        (bit, plain), (bit_stop, plain_stop) = self._starts[0], self._starts[index]
        low, high = max(0, plain - self._warmup), min(self._plain_total, plain_stop + self._lookahead)
        wire_low = bit // 8 - self._wire_base
        wire_high = (bit_stop + 7) // 8 - self._wire_base
        last = complete and index == len(self._starts) - 1
        shape = kernel.SegmentShape(
            plain - low, plain_stop - low, low, complete and high == self._plain_total, last, bit % 8, bit_stop - bit
        )
        with memoryview(self._plain) as view:
            around = copied([view[low - self._plain_base : high - self._plain_base]])
        wire = copied([self._wire.view(wire_low, wire_high)])
        shared = wire[0] & ((1 << bit % 8) - 1) if wire else 0
        try_all = self._vain_trials < _VAIN_TRIALS and not self._all_tried
        evidence = self._evidence() if try_all else None
        dispatch(SegmentJob(shape, around, wire, self.choices, trailer, evidence), shared)
        self._starts.drop(index)
        self._next_start = 1
        drop = bit_stop // 8 - self._wire_base
        self._wire.drop(drop)
        self._wire_base += drop
        self._wire_at -= drop
