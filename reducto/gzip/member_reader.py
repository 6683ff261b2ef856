"""One deflate stream: inflated into a sliding window and cut into segments for the planner."""

from __future__ import annotations

from collections.abc import Callable

from reducto.gzip.block_starts import Boundaries
from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.planning import Choice, EncoderEvidence, Job, Planned, Sample, classify
from reducto.gzip.wire_buffer import Window
from reducto.kernel import gzip as kernel
from reducto.kernel.buffers import copied, copy_bytes, uncleared

#: Plain bytes looked at before the encoder is named.
SAMPLE_BYTES = 4 << 20
WINDOW_BYTES = 12 << 20
#: A segment also ends at a block boundary after so many wire bytes (empty blocks make wire without plain).
SEGMENT_WIRE_BYTES = 8 << 20
#: Blocks kept for the classifier.
_SAMPLE_BLOCKS = 4096
#: Segments of a blob for which all models may be tried in vain.
_VAIN_TRIALS = 3

Sink = Callable[[memoryview], None]
Dispatch = Callable[[Job, int], None]


class PlainLimitReached(Exception):
    """The blob's plain bytes go beyond a limit."""


class NoEncoderModel(Exception):
    """No model can be used: none fits, or blocks are too long or too many for one segment."""


class MemberReader:
    """Reads the deflate streams of a blob's members, one after the other.

    Each begins at the front of ``wire`` when `begin` is called. What was read stays there until its segment was
    dispatched, the member's end until `end`.
    """

    def __init__(self, limits: ContainerLimits, wire: Window) -> None:
        self._limits = limits
        self._wire = wire
        self._inflater = kernel.Inflater()
        self._plain = memoryview(b"")
        self._blob_plain = self._blob_wire = 0
        self._warmup = max(model.warmup_bytes for model in kernel.models().values())
        self._lookahead = max(model.lookahead_bytes for model in kernel.models().values())
        self._vain_trials = 0
        self._hint: tuple[Choice, ...] = ()
        self.choices: tuple[Choice, ...] = ()

    def begin(self, header: bytes) -> None:
        """A new member."""
        self._inflater.reset()
        self._header = header
        self._hint, self.choices = self.choices or self._hint, ()
        self._plain_base = 0  # position in the member of _plain[0]
        self._used = 0
        self._wire_base = 0  # position in the deflate stream of the first byte at hand
        self._wire_at = 0  # of those at hand, the first that is not inflated yet
        self._all_tried = False
        self._marks = Boundaries()  # the first is the segment's
        self._next_mark = 1
        self._raw_blocks = bytearray()

    def heed(self, planned: Planned) -> None:
        """Learns from a segment's plan: a model that was exact where the chosen one was not comes first from now on."""
        if not planned.all_asked:
            return
        if planned.exact:
            self._hint = (planned.choice,)
            if self.choices:
                self.choices = (planned.choice, *(choice for choice in self.choices[:2] if choice != planned.choice))
        else:
            self._vain_trials += 1

    def read(self, sink: Sink, dispatch: Dispatch) -> bool:
        """Inflates all wire bytes at hand, or up to the stream's end: then True."""
        while True:
            self._make_room()
            before, wire_before = self._used, self._wire_at
            with self._wire.view() as wire:
                status, self._wire_at, self._used = self._inflater.run(wire, self._wire_at, self._plain, self._used)
            self._blob_wire += self._wire_at - wire_before
            self._note_blocks()
            if self._used > before:
                self._hand_out(before, sink)
            if status == kernel.DONE:
                self._close()
                return True
            self._cut(dispatch)
            if status == kernel.NEEDS_INPUT:
                return False

    @property
    def wire_length(self) -> int:
        """At the stream's end: how many of the wire bytes at hand are its own; the others follow it."""
        return self._wire_at + (self._inflater.bit > 0)

    def end(self, trailer: bytes, dispatch: Dispatch) -> None:
        """Dispatches what is left of the member, whose trailer is ``trailer``, and gives its last wire bytes up."""
        if not self.choices:
            self._classify(complete=True)
        self._cut(dispatch, complete=True)
        first = self._marks[0][1] == 0
        self._dispatch(len(self._marks) - 1, dispatch, complete=True, trailer=trailer if first else b"")
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
        with memoryview(self._plain) as view, view[before : self._used] as fresh:
            sink(fresh)

    def _note_blocks(self) -> None:
        if len(self._raw_blocks) < _SAMPLE_BLOCKS * kernel.BLOCK.size:
            self._raw_blocks += self._inflater.ended()
        self._marks.add(*self._inflater.entered())
        if len(self._marks) > self._limits.block_limit_count:
            raise NoEncoderModel(f"more than {self._limits.block_limit_count} deflate blocks in one segment")

    def _make_room(self) -> None:
        if len(self._plain) - self._used >= 1 << 20:
            return
        start = self._marks[0][1] if self._marks else 0
        drop = max(0, start - max(self._warmup, 1 << 15) - self._plain_base)
        kept = self._used - drop
        capacity = max(WINDOW_BYTES, len(self._plain))
        if kept > capacity - (2 << 20):
            capacity = 2 * capacity
        if kept > self._limits.block_limit_bytes:
            raise NoEncoderModel(f"no segment ends within {self._limits.block_limit_bytes} plain bytes")
        if drop or capacity != len(self._plain):
            fresh = self._plain if capacity == len(self._plain) else uncleared(capacity)
            with memoryview(self._plain) as view:
                copy_bytes(view[drop : self._used], fresh)
            self._plain, self._plain_base, self._used = fresh, self._plain_base + drop, kept

    def _close(self) -> None:
        """Marks the end of the stream."""
        bit = self._inflater.bit
        if bit and self._wire.view()[self._wire_at] >> bit:
            raise NoEncoderModel("bits are set behind the final block")
        self._marks.append((self._wire_base + self._wire_at) * 8 + bit, self._plain_total)

    def _classify(self, complete: bool) -> bool:
        """Sets ``choices``; False: more of the stream is needed."""
        with memoryview(self._plain) as view, view[: self._used] as plain, self._wire.view() as wire:
            sample = Sample(plain, wire, self._marks, complete, self._evidence())
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
            if not enough or len(self._marks) < 2 or not self._classify(complete=False):
                return
        while self._next_mark < len(self._marks) - complete:
            index = self._next_mark
            plain = self._marks[index][1]
            known = index + 1 < len(self._marks)
            behind = self._marks[index + 1][1] if known else self._plain_total
            if not complete and ((behind == plain and not known) or self._plain_total < plain + self._lookahead):
                return
            if behind > plain and self._may_cut(index):
                self._dispatch(index, dispatch, complete)
            else:
                self._next_mark += 1

    def _may_cut(self, index: int) -> bool:
        (first_bit, first_plain), (bit, plain) = self._marks[0], self._marks[index]
        if not self.choices:
            return True
        model = self.choices[0].model
        if bit - first_bit >= 8 * SEGMENT_WIRE_BYTES:
            return True
        length = plain - first_plain
        aligned = not model.align_bytes or plain % model.align_bytes == 0 or length >= 4 * model.segment_bytes
        return length >= model.segment_bytes and aligned

    def _dispatch(self, index: int, dispatch: Dispatch, complete: bool, trailer: bytes = b"") -> None:
        """Hands out the segment of the blocks before mark ``index``, which becomes the next segment's start."""
        (bit, plain), (bit_stop, plain_stop) = self._marks[0], self._marks[index]
        low, high = max(0, plain - self._warmup), min(self._plain_total, plain_stop + self._lookahead)
        wire_low = bit // 8 - self._wire_base
        wire_high = (bit_stop + 7) // 8 - self._wire_base
        last = complete and index == len(self._marks) - 1
        shape = kernel.SegmentShape(
            plain - low, plain_stop - low, low, complete and high == self._plain_total, last, bit % 8, bit_stop - bit
        )
        with memoryview(self._plain) as view:
            at_hand = copied([view[low - self._plain_base : high - self._plain_base]])
        wire = copied([self._wire.view(wire_low, wire_high)])
        shared = wire[0] & ((1 << bit % 8) - 1) if wire else 0
        ask_all = self._vain_trials < _VAIN_TRIALS and not self._all_tried
        evidence = self._evidence() if ask_all else None
        dispatch(Job(shape, at_hand, wire, self.choices, trailer, evidence), shared)
        self._marks.drop(index)
        self._next_mark = 1
        drop = bit_stop // 8 - self._wire_base
        self._wire.drop(drop)
        self._wire_base += drop
        self._wire_at -= drop
