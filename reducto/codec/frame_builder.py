"""Turns the new bytes of a blob into frames: against twins where there are some, else for themselves.

New bytes with twins go into DELTA frames of a few megabytes, whose prefix is those twins. The rest waits until there
is enough for a long frame, because a layer is full of repeats of itself and a short frame would not see them.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES
from reducto.codec.frames import (
    Frame,
    FrameKind,
    compress_dictionary,
    compress_literal,
    compress_related,
    cut_ranges,
    join_ranges,
    prove,
)
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.options import EncodeOptions
from reducto.codec.references import ReferenceCorpus
from reducto.codec.similar_base import LEAST_BYTES, find_similar_base, stretch_at
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.kernel.buffers import copied
from reducto.kernel.matching import OWN, Extent, Operations, ReferenceTable, UnmatchedRange, find_delta_bases
from reducto.mapped import joined
from reducto.values import ByteRange
from reducto.workers import Submit

#: New bytes of one DELTA frame, about.
BATCH_BYTES = 4 << 20
# The first frame holds little more than the first segment, for whoever reads a blob from its beginning waits for it and
# its twins.
_FIRST_BATCH_BYTES = SEGMENT_BYTES
#: Twin bytes taken around one gap, and in one frame.
_TWIN_REACH_BYTES = 2 << 20
_TWINS_LIMIT_BYTES = 24 << 20
_JOIN_BYTES = 2048
_HINT_MARGIN_BYTES = 32 << 10
_HINT_MINIMUM_BYTES = 256
# A gap as long as this without any twin is worth more in a long frame.
_LONG_GAP_BYTES = 64 << 10
# Dictionaries help only what is too short to have a past of its own.
_DICTIONARY_LIMIT_BYTES = 128 << 10
# So little costs no time at a level that beats gzip -6, without which a small first layer would be stored as it came
# and the next one would have no relative.
_SHORT_LITERAL_BYTES = 16 << 20
_SHORT_LITERAL_LEVEL = 9
_SHORT_STORED_BYTES = 1 << 20
# Frames that wait hold no memory to speak of: their bytes are in the spool, in corpora or put aside.
_IN_FLIGHT = 8


@dataclass
class _Batch:
    """Operations since the last frame. The first may be the one before them, for its neighbour's sake."""

    operations: Operations = field(default_factory=Operations)
    plain_offset: int = 0
    fresh_start: int = 0
    fresh_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Made:
    frame: Frame
    stored: bytes | memoryview


class FrameBuilder:
    """Collects operations, cuts frames, compresses them on workers and appends them to a spool in order."""

    def __init__(
        self,
        fresh: NewBytesSpool,
        table: ReferenceTable,
        options: EncodeOptions,
        spool_dir: Path,
        submit: Submit | None,
    ) -> None:
        self._fresh, self._table, self._options, self._submit = fresh, table, options, submit
        self._spool_dir = spool_dir
        self.references: list[ReferenceCorpus] = []
        """The elected corpora; number n of the table is item n - 1."""
        self.fresh_members: dict[int, int] = {}
        # Two columns, for a blob may have a million members: as objects they would keep the garbage collector busy.
        self._member_starts = array("Q")
        self._member_paths = array("Q")
        self._batch = _Batch()
        self._literals: list[ByteRange] = []
        self._literal_bytes = 0
        self._tried = 0
        self._kin: int | None = None
        self._pending: deque[Future[_Made] | _Made] = deque()
        self.frames: list[Frame] = []
        self.spool: BinaryIO = tempfile.TemporaryFile(dir=spool_dir)  # noqa: SIM115

    def note_member(self, header: int, path_hash: int) -> None:
        """Adds a tar member, in order of their place: the blob's plain offset of its header, and its path's hash."""
        self._member_starts.append(header)
        self._member_paths.append(path_hash)

    def add(self, operations: Operations, fresh_bytes: int) -> None:
        """Takes the operations that follow, with ``fresh_bytes`` new bytes in them."""
        if not self._batch.fresh_start:
            operations, fresh_bytes = self._begin(operations, fresh_bytes)
        self._batch.operations.extend(operations.raw)
        self._batch.fresh_bytes += fresh_bytes
        if self._batch.fresh_bytes >= BATCH_BYTES:
            self._end_batch()
        self._collect(_IN_FLIGHT)

    def finish(self) -> None:
        """Makes the last frames; afterwards `frames` and `spool` are complete."""
        self._end_batch()
        self._flush_literals()
        self._collect(0)
        self.spool.seek(0)

    def _begin(self, operations: Operations, fresh_bytes: int) -> tuple[Operations, int]:
        """Takes what belongs to the first frame, and makes it if that is enough. Returns what is left."""
        batch, count, taken = self._batch, len(operations), 0
        for gap in operations.unmatched_ranges(0, 1):
            taken += gap.length
            if batch.fresh_bytes + taken >= _FIRST_BATCH_BYTES:
                count = gap.operation + 1
                break
        batch.operations.extend(operations.slice(0, count).raw)
        batch.fresh_bytes += taken
        if batch.fresh_bytes >= _FIRST_BATCH_BYTES:
            self._end_batch()
        return operations.slice(count), fresh_bytes - taken

    # -- cutting -----------------------------------------------------------------------------------------------

    def _end_batch(self) -> None:
        batch, operations = self._batch, self._batch.operations
        if batch.fresh_bytes:
            gaps = operations.unmatched_ranges(batch.plain_offset, _HINT_MINIMUM_BYTES)
            has_twin, twins = find_delta_bases(
                self._table, operations, self._hints(gaps), _TWIN_REACH_BYTES, _JOIN_BYTES
            )
            self._split(batch, gaps, has_twin, _bounded(twins))
        count = len(operations)
        covered = sum(operations.totals())
        last = operations.slice(count - 1) if count else Operations()
        kept = last[0].length if count else 0
        if count and last[0].is_new:
            last, kept = Operations(), 0
        fresh_stop = batch.fresh_start + batch.fresh_bytes
        self._batch = _Batch(last, batch.plain_offset + covered - kept, fresh_stop)

    def _hints(self, gaps: Sequence[UnmatchedRange]) -> list[tuple[int, Extent]]:
        """Where corpora hold a member of the same name as the one that a gap lies in."""
        out: list[tuple[int, Extent]] = []
        for gap in gaps:
            at = bisect_right(self._member_starts, gap.plain_offset) - 1
            if at >= 0:
                self._note_fresh(at, gap)
                twins = self._same_path(at, gap.plain_offset - self._member_starts[at], gap.length)
                out += ((gap.operation, twin) for twin in twins)
        return out

    def _note_fresh(self, at: int, gap: UnmatchedRange) -> None:
        """Remembers where new bytes of each member lie, for the path index of the corpus they become."""
        starts = self._member_starts
        while at < len(starts) and starts[at] < gap.plain_offset + gap.length:
            where = gap.source + max(0, starts[at] - gap.plain_offset)
            self.fresh_members.setdefault(where, self._member_paths[at])
            at += 1

    def _same_path(self, member: int, distance: int, length: int) -> list[Extent]:
        out = []
        reach = min(length + _HINT_MARGIN_BYTES, 2 * _TWIN_REACH_BYTES)
        for number, reference in enumerate(self.references, 1):
            for offset in reference.corpus.paths.find(self._member_paths[member])[-2:]:
                start = max(0, offset + distance - _HINT_MARGIN_BYTES)
                out.append(Extent(number, start, reach + _HINT_MARGIN_BYTES))
        return out

    def _split(self, batch: _Batch, gaps: Sequence[UnmatchedRange], has_twin: bytes, twins: list[Extent]) -> None:
        """Long gaps without a twin, or all of the batch if there are no twins at all, are literals."""
        fresh = ByteRange(batch.fresh_start, batch.fresh_start + batch.fresh_bytes)
        literals = [fresh]
        if twins:
            lone = (g for g in gaps if g.length >= _LONG_GAP_BYTES and not has_twin[g.operation])
            literals = [ByteRange(gap.source, gap.source + gap.length) for gap in lone]
            if deltas := _without(fresh, literals):
                self._launch(FrameKind.DELTA, deltas, tuple(twins))
        for span in literals:
            self._add_literal(span)

    def _add_literal(self, span: ByteRange) -> None:
        while len(span):
            room = self._options.frame_bytes - self._literal_bytes
            part = ByteRange(span.start, min(span.stop, span.start + room))
            self._literals.append(part)
            self._literal_bytes += len(part)
            span = ByteRange(part.stop, span.stop)
            if self._literal_bytes == self._options.frame_bytes:
                self._flush_literals()

    def _flush_literals(self) -> None:
        ranges = join_ranges(self._literals)
        self._literals, self._literal_bytes = [], 0
        if not ranges:
            return
        kin = self._kin_of(ranges[0])
        if kin is None:
            self._launch(FrameKind.LITERAL, ranges, ())
            return
        for part in cut_ranges(ranges, DIFFERENCE_LIMIT_BYTES):
            length = part[-1].stop - part[0].start
            twin = stretch_at(self.references, kin, part[0].start, length, _TWINS_LIMIT_BYTES)
            self._launch(FrameKind.DELTA, part, (twin,))

    def _kin_of(self, span: ByteRange) -> int | None:
        """The reference beside which literals lie. Tried once for the same references: a trial takes milliseconds."""
        if len(self.references) != self._tried and len(span) >= LEAST_BYTES:
            self._tried = len(self.references)
            data = self._fresh.mapping[span.start : span.stop]
            self._kin = find_similar_base(self.references, data, span.start, self._options.compression_level)
        return self._kin

    # -- compressing -------------------------------------------------------------------------------------------

    def _launch(self, kind: FrameKind, ranges: tuple[ByteRange, ...], twins: tuple[Extent, ...]) -> None:
        if self._submit is None:
            self._pending.append(self._make(kind, ranges, twins))
        else:
            self._pending.append(self._submit(self._make, kind, ranges, twins))
        self._collect(_IN_FLIGHT)

    def _prefix(self, twins: tuple[Extent, ...]) -> memoryview:
        parts = []
        for twin in twins:
            corpus = self.references[twin.reference - 1].corpus
            parts.append(corpus.view(twin.offset, twin.length))
        return copied(parts)

    def _make(self, kind: FrameKind, ranges: tuple[ByteRange, ...], twins: tuple[Extent, ...]) -> _Made:
        options = self._options
        prefix: bytes | memoryview = self._prefix(twins)
        views = [self._fresh.mapping[span.start : span.stop] for span in ranges]
        data = views[0] if len(views) == 1 else joined(self._spool_dir, views)
        stored: bytes | memoryview
        if kind is FrameKind.DELTA:
            kind, stored = compress_related(data, prefix, options.compression_level)
        else:
            level = options.compression_level
            if len(data) <= _SHORT_LITERAL_BYTES:
                level = max(level, _SHORT_LITERAL_LEVEL)
            stored = compress_literal(data, level, options.window_log, options.compression_threads)
            kind, stored, twins, prefix = self._with_dictionary(data, stored)
        if len(stored) >= len(data):
            kind, stored, twins, prefix = FrameKind.RAW, data, (), b""
        prove(kind, stored, prefix, data)
        for span in ranges:
            self._fresh.forget(span.start, span.stop)
        return _Made(Frame(kind, ranges, len(stored), twins), self._put_aside(stored))

    def _put_aside(self, stored: bytes | memoryview) -> bytes | memoryview:
        """``stored`` until its turn comes; in a file without a name if it takes much memory."""
        if isinstance(stored, memoryview) or len(stored) <= _SHORT_STORED_BYTES:
            return stored
        return joined(self._spool_dir, [stored])

    def _with_dictionary(
        self, data: bytes | memoryview, stored: bytes
    ) -> tuple[FrameKind, bytes, tuple[Extent, ...], bytes]:
        """The better of ``stored`` and what a trained dictionary makes of a short residual."""
        if len(data) <= _DICTIONARY_LIMIT_BYTES:
            for number, reference in enumerate(self.references, 1):
                dictionary = reference.corpus.dictionary
                if not dictionary:
                    continue
                other = compress_dictionary(data, dictionary, self._options.compression_level)
                if len(other) < len(stored):
                    return FrameKind.DICTIONARY, other, (Extent(number, 0, 0),), dictionary
        return FrameKind.LITERAL, stored, (), b""

    def _collect(self, in_flight: int) -> None:
        """Takes frames that are made, and waits until at most ``in_flight`` are left."""
        while self._pending and (len(self._pending) > in_flight or _is_made(self._pending[0])):
            item = self._pending.popleft()
            made = item.result() if isinstance(item, Future) else item
            self.frames.append(made.frame)
            self.spool.write(made.stored)

    def used(self) -> set[int]:
        """Numbers of the references that frames need."""
        return {twin.reference for frame in self.frames for twin in frame.twins} - {OWN}

    def close(self) -> None:
        """Waits for what still runs and gives the spool up. Idempotent."""
        for item in self._pending:
            if isinstance(item, Future):
                item.cancel() or item.exception()
        self._pending.clear()
        self.spool.close()


def _is_made(item: Future[_Made] | _Made) -> bool:
    return not isinstance(item, Future) or item.done()


def _without(span: ByteRange, holes: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """What is left of ``span`` without the ascending ``holes``."""
    edges = [span.start, *(edge for hole in holes for edge in (hole.start, hole.stop)), span.stop]
    return tuple(ByteRange(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)


def _bounded(twins: list[Extent]) -> list[Extent]:
    """``twins`` until they would exceed a frame's share; the shortest stay, as they are the closest fit."""
    if sum(twin.length for twin in twins) <= _TWINS_LIMIT_BYTES:
        return twins
    left, kept = _TWINS_LIMIT_BYTES, []
    for twin in sorted(twins, key=lambda t: t.length):
        if twin.length > left:
            break
        left -= twin.length
        kept.append(twin)
    return sorted(kept)
