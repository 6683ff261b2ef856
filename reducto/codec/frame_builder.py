"""Decides how the new bytes of a blob are cut into frames, and which delta base each frame has.

New bytes with a delta base go into DELTA frames of about 4 MiB. The rest waits until there is enough for a long frame,
because a layer is full of repeats of itself and a short frame would not see them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES
from reducto.codec.encode_options import EncodeOptions
from reducto.codec.frame_maker import FrameMaker
from reducto.codec.frames import FrameKind, cut_ranges, join_ranges
from reducto.codec.new_bytes import NewBytesSpool
from reducto.codec.references import ReferenceCorpus
from reducto.codec.similar_base import LEAST_BYTES, extent_near, find_similar_base
from reducto.corpus.corpus_format import SEGMENT_BYTES
from reducto.kernel.matching import Extent, Operations, ReferenceTable, UnmatchedRange, find_delta_bases
from reducto.values import ByteRange
from reducto.workers import Submit

#: New bytes of one DELTA frame, about.
BATCH_BYTES = 4 << 20
# The first frame holds little more than the first segment of 1 MiB, because a reader who begins at the front waits for
# all of that frame and its delta base.
_FIRST_BATCH_BYTES = SEGMENT_BYTES
#: Most bytes taken as delta base around the neighbours of one unmatched range, and in one frame.
_BASE_REACH_BYTES = 2 << 20
_BASES_LIMIT_BYTES = 24 << 20
# Extents that are at most this far apart are joined, which costs less than naming another one.
_JOIN_BYTES = 2048
# A member of the same name gives a delta base for unmatched ranges from 256 bytes on, with 32 KiB on both sides.
_HINT_MARGIN_BYTES = 32 << 10
_HINT_MINIMUM_BYTES = 256
#: Members of one name that are looked at in each corpus: those that lie last, which a builder writes newest.
_HINTS_PER_CORPUS = 2
# An unmatched range of this length without any delta base is worth more in a long frame.
_LONG_RANGE_BYTES = 64 << 10


@dataclass
class _Batch:
    """Operations since the last frame. The first may be the last one of the batch before, as a neighbour."""

    operations: Operations = field(default_factory=Operations)
    plain_offset: int = 0
    new_start: int = 0
    new_bytes: int = 0


class FrameBuilder:
    """Collects operations, cuts the new bytes in them into frames, and passes these to a `FrameMaker`.

    ``references`` may grow meanwhile: number n of ``table`` is item n - 1.
    """

    def __init__(
        self,
        new_bytes: NewBytesSpool,
        table: ReferenceTable,
        references: Sequence[ReferenceCorpus],
        options: EncodeOptions,
        spool_dir: Path,
        submit: Submit | None,
    ) -> None:
        self._new, self._table, self._references, self._options = new_bytes, table, references, options
        self.maker = FrameMaker(new_bytes, references, options, spool_dir, submit)
        self.new_members: dict[int, int] = {}
        """Path hashes of tar members by the offset in the new bytes at which each begins or first has new bytes."""
        # Two arrays, because a blob may have a million members: as objects they would keep the garbage collector busy.
        self._member_starts = array("Q")
        self._member_paths = array("Q")
        self._batch = _Batch()
        self._literals: list[ByteRange] = []
        self._literal_bytes = 0
        self._tried_references = 0
        self._similar_base: int | None = None

    def note_member(self, header: int, path_hash: int) -> None:
        """Adds a tar member by the plain offset of its header and its path's hash; headers ascend."""
        self._member_starts.append(header)
        self._member_paths.append(path_hash)

    def add(self, operations: Operations, new_bytes: int) -> None:
        """Takes the operations that follow, with ``new_bytes`` new bytes in them. Raises as `FrameMaker.add`."""
        if not self._batch.new_start:
            operations, new_bytes = self._begin(operations, new_bytes)
        self._batch.operations.extend(operations.raw)
        self._batch.new_bytes += new_bytes
        if self._batch.new_bytes >= BATCH_BYTES:
            self._end_batch()
        self.maker.collect()

    def finish(self) -> None:
        """Makes the last frames and waits for all of them. Raises as `FrameMaker.add`."""
        self._end_batch()
        self._flush_literals()
        self.maker.finish()

    def _begin(self, operations: Operations, new_bytes: int) -> tuple[Operations, int]:
        """Takes the operations of the first frame, and makes it if they are enough. Returns what is left of both."""
        batch, count, taken = self._batch, len(operations), 0
        for unmatched in operations.unmatched_ranges(0, 1):
            taken += unmatched.length
            if batch.new_bytes + taken >= _FIRST_BATCH_BYTES:
                count = unmatched.operation + 1
                break
        batch.operations.extend(operations.slice(0, count).raw)
        batch.new_bytes += taken
        if batch.new_bytes >= _FIRST_BATCH_BYTES:
            self._end_batch()
        return operations.slice(count), new_bytes - taken

    # -- batches -----------------------------------------------------------------------------------------------

    def _end_batch(self) -> None:
        batch, operations = self._batch, self._batch.operations
        if batch.new_bytes:
            unmatched = operations.unmatched_ranges(batch.plain_offset, _HINT_MINIMUM_BYTES)
            has_base, bases = find_delta_bases(
                self._table, operations, self._hints(unmatched), _BASE_REACH_BYTES, _JOIN_BYTES
            )
            self._split(batch, unmatched, has_base, _shortest(bases))
        count = len(operations)
        covered = sum(operations.totals())
        last = operations.slice(count - 1) if count else Operations()
        kept = last[0].length if count else 0
        if count and last[0].is_new:
            last, kept = Operations(), 0
        new_stop = batch.new_start + batch.new_bytes
        self._batch = _Batch(last, batch.plain_offset + covered - kept, new_stop)

    def _hints(self, unmatched: Sequence[UnmatchedRange]) -> list[tuple[int, Extent]]:
        """Where corpora hold a member of the same name as the one that an unmatched range lies in."""
        out: list[tuple[int, Extent]] = []
        for each in unmatched:
            at = bisect_right(self._member_starts, each.plain_offset) - 1
            if at >= 0:
                self._note_new(at, each)
                bases = self._same_path(at, each.plain_offset - self._member_starts[at], each.length)
                out += ((each.operation, base) for base in bases)
        return out

    def _note_new(self, at: int, unmatched: UnmatchedRange) -> None:
        """Remembers where new bytes of each member lie, for the path index of the corpus that they become."""
        starts = self._member_starts
        while at < len(starts) and starts[at] < unmatched.plain_offset + unmatched.length:
            offset = unmatched.source + max(0, starts[at] - unmatched.plain_offset)
            self.new_members.setdefault(offset, self._member_paths[at])
            at += 1

    def _same_path(self, member: int, distance: int, length: int) -> list[Extent]:
        """Extents of corpora that lie as far (``distance``) behind the start of a member of the same name."""
        out = []
        reach = min(length + _HINT_MARGIN_BYTES, 2 * _BASE_REACH_BYTES)
        for number, reference in enumerate(self._references, 1):
            for offset in reference.corpus.paths.find(self._member_paths[member])[-_HINTS_PER_CORPUS:]:
                start = max(0, offset + distance - _HINT_MARGIN_BYTES)
                out.append(Extent(number, start, reach + _HINT_MARGIN_BYTES))
        return out

    def _split(self, batch: _Batch, unmatched: Sequence[UnmatchedRange], has_base: bytes, bases: list[Extent]) -> None:
        """Makes a DELTA frame of the batch, except for long ranges without a delta base, which become literals.

        If there is no delta base at all, the whole batch becomes literals.
        """
        new = ByteRange(batch.new_start, batch.new_start + batch.new_bytes)
        literals = [new]
        if bases:
            lone = (each for each in unmatched if each.length >= _LONG_RANGE_BYTES and not has_base[each.operation])
            literals = [ByteRange(each.source, each.source + each.length) for each in lone]
            if deltas := _without(new, literals):
                self.maker.add(FrameKind.DELTA, deltas, tuple(bases))
        for span in literals:
            self._add_literal(span)

    # -- literals ----------------------------------------------------------------------------------------------

    def _add_literal(self, span: ByteRange) -> None:
        while len(span):
            left = self._options.frame_bytes - self._literal_bytes
            part = ByteRange(span.start, min(span.stop, span.start + left))
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
        number = self._find_similar_base(ranges[0])
        if number is None:
            self.maker.add(FrameKind.LITERAL, ranges)
            return
        for part in cut_ranges(ranges, DIFFERENCE_LIMIT_BYTES):
            length = part[-1].stop - part[0].start
            base = extent_near(self._references, number, part[0].start, length, _BASES_LIMIT_BYTES)
            self.maker.add(FrameKind.DELTA, part, (base,))

    def _find_similar_base(self, span: ByteRange) -> int | None:
        """The number of the reference that literals resemble.

        A trial takes milliseconds, so it is repeated only when there are more references than at the last one.
        """
        if len(self._references) != self._tried_references and len(span) >= LEAST_BYTES:
            self._tried_references = len(self._references)
            data = self._new.mapping[span.start : span.stop]
            self._similar_base = find_similar_base(self._references, data, span.start, self._options.compression_level)
        return self._similar_base

    def close(self) -> None:
        """Waits for workers and drops the temporary file. Idempotent."""
        self.maker.close()


def _without(span: ByteRange, holes: Sequence[ByteRange]) -> tuple[ByteRange, ...]:
    """The parts of ``span`` that are in none of the ascending ``holes``."""
    edges = [span.start, *(edge for hole in holes for edge in (hole.start, hole.stop)), span.stop]
    return tuple(ByteRange(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)


def _shortest(bases: list[Extent]) -> list[Extent]:
    """``bases``, if they have at most 24 MiB; else the shortest of them, because these are the closest fit."""
    if sum(base.length for base in bases) <= _BASES_LIMIT_BYTES:
        return bases
    left, kept = _BASES_LIMIT_BYTES, []
    for base in sorted(bases, key=lambda each: each.length):
        if base.length > left:
            break
        left -= base.length
        kept.append(base)
    return sorted(kept)
