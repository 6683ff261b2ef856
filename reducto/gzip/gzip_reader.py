"""Reads a gzip blob: plain bytes come out, segments are planned on workers, and a proved recipe is the result.

Memory: a window of 12 MiB of plain bytes (more only while one deflate block is longer, up to
`ContainerLimits.block_limit_bytes`), the wire bytes of the segment being read, and copies of the segments in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from reducto.errors import Corrupt
from reducto.gzip.container_limits import ContainerLimits
from reducto.gzip.gzip_header import MAGIC, TRAILER_BYTES, BadHeader, header_length
from reducto.gzip.gzip_layout import DeflateSegment, GzipMember
from reducto.gzip.gzip_recipe import PARTS_LIMIT, GzipRecipe
from reducto.gzip.member_reader import MemberReader, NoEncoderModel, PlainLimitReached
from reducto.gzip.planning import PlannedSegment, SegmentJob, plan_all
from reducto.gzip.wire_buffer import WireBuffer
from reducto.values import Reason, Stored
from reducto.workers import Submit

#: Segments that are planned as one task: as many as have 1 MiB of plain bytes together, and at most 256.
BATCH_PLAIN_BYTES = 1 << 20
_BATCH_SEGMENTS = 256
#: Corrections may shrink to a quarter when the recipe is compressed. Only beyond that is a blob refused early.
_BEST_RATIO = 4


@dataclass(slots=True)
class _OpenMember:
    header: bytes
    trailer: bytes = b""
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    """Plain length, wire bits and shared bits of each segment."""


class _Refusal(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.stored = Stored(reason, detail)


class GzipReader:
    """One gzip blob on its way in; see `reducto.container.ContainerReader`.

    ``refused`` is set as soon as it is clear that the blob will be stored as it came; further bytes are then ignored.
    """

    raw = False

    def __init__(self, limits: ContainerLimits, submit: Submit | None) -> None:
        self._limits = limits
        self._submit = submit
        # The step is not bound to this object: their cycle would hold megabytes until the garbage collector runs.
        self._step: Callable[[GzipReader, Callable[[memoryview], None]], bool] = GzipReader._read_header
        self._wire = WireBuffer()
        self._wire_length = 0
        self._trailing = bytearray()
        self._members: list[_OpenMember] = []
        self._reader = MemberReader(limits, self._wire)
        self._batch: list[SegmentJob] = []
        self._flying: deque[tuple[Future[list[PlannedSegment | None]], list[SegmentJob]]] = deque()
        self._planned: list[PlannedSegment] = []
        self._corrections_bytes = 0
        self.refused: Stored | None = None

    def feed(self, wire: bytes | memoryview, sink: Callable[[memoryview], None]) -> None:
        """Takes the next wire bytes and hands plain bytes, in order, to ``sink``."""
        self._wire_length += len(wire)
        if self.refused is not None:
            return
        self._wire.add(wire)
        try:
            while self._step(self, sink):
                pass
        except _Refusal as refusal:
            self._refuse(refusal.stored)
        except Corrupt as error:
            self._refuse(Stored(Reason.CORRUPT_GZIP, str(error)))
        except PlainLimitReached as error:
            self._refuse(Stored(Reason.PLAIN_LIMIT, str(error)))
        except NoEncoderModel as error:
            self._refuse(Stored(Reason.NO_ENCODER_MODEL, str(error)))

    def finish(self) -> GzipRecipe | Stored:
        """The proved recipe, or why the blob is stored as it came."""
        if self.refused is None and self._step is GzipReader._read_next and self._wire:
            self._trailing += self._wire.view()
        elif self.refused is None and self._step not in (GzipReader._read_next, GzipReader._read_trailing):
            self._refuse(Stored(Reason.CORRUPT_GZIP, "the stream is cut off"))
        try:
            if self.refused is None:
                self._flush_batch()
                while self._flying:
                    self._collect()
        except _Refusal as refusal:
            self._refuse(refusal.stored)
        return self.refused or self._assemble()

    # ---- steps: each returns whether the next one can go on with the bytes that are there

    def _read_header(self, sink: Callable[[memoryview], None]) -> bool:
        try:
            length = header_length(self._wire.view())
        except BadHeader as error:
            if not self._members:
                raise Corrupt(str(error)) from error
            self._step = GzipReader._read_trailing
            return True
        if length is None:
            if len(self._wire) > self._limits.header_limit_bytes:
                raise _Refusal(Reason.CORRUPT_GZIP, f"a header of more than {self._limits.header_limit_bytes} bytes")
            return False
        if len(self._members) + len(self._planned) >= PARTS_LIMIT:
            raise _Refusal(Reason.RECIPE_TOO_LARGE, f"more than {PARTS_LIMIT} members and segments")
        header = bytes(self._wire.view(0, length))
        self._members.append(_OpenMember(header))
        self._wire.drop(length)
        self._reader.begin(header)
        self._step = GzipReader._read_body
        return True

    def _read_body(self, sink: Callable[[memoryview], None]) -> bool:
        done = self._reader.read(sink, self._dispatch)
        if not done:
            return False
        self._step = GzipReader._read_trailer
        return True

    def _read_trailer(self, sink: Callable[[memoryview], None]) -> bool:
        start = self._reader.wire_length
        if len(self._wire) < start + TRAILER_BYTES:
            return False
        member = self._members[-1]
        member.trailer = bytes(self._wire.view(start, start + TRAILER_BYTES))
        self._reader.end(member.trailer, self._dispatch)
        self._wire.drop(TRAILER_BYTES)
        self._step = GzipReader._read_next
        return True

    def _read_next(self, sink: Callable[[memoryview], None]) -> bool:
        if len(self._wire) < len(MAGIC):
            return False
        another = self._wire.view(0, len(MAGIC)) == MAGIC
        self._step = GzipReader._read_header if another else GzipReader._read_trailing
        return True

    def _read_trailing(self, sink: Callable[[memoryview], None]) -> bool:
        self._trailing += self._wire.view()
        self._wire.drop(len(self._wire))
        if len(self._trailing) > self._limits.trailing_limit_bytes:
            raise _Refusal(
                Reason.RECIPE_TOO_LARGE, f"more than {self._limits.trailing_limit_bytes} bytes behind the last member"
            )
        return False

    # ---- segments

    def _dispatch(self, job: SegmentJob, shared_bits: int) -> None:
        shape = job.shape
        self._members[-1].segments.append((shape.stop - shape.start, shape.wire_bits, shared_bits))
        self._batch.append(job)
        if (
            sum(len(batched.plain) for batched in self._batch) >= BATCH_PLAIN_BYTES
            or len(self._batch) >= _BATCH_SEGMENTS
        ):
            self._flush_batch()

    def _flush_batch(self) -> None:
        jobs, self._batch = self._batch, []
        if not jobs:
            return
        if self._submit is None:
            self._accept(plan_all(jobs))
            return
        while len(self._flying) >= self._limits.segments_in_flight or (self._flying and self._flying[0][0].done()):
            self._collect()
        self._flying.append((self._submit(plan_all, jobs), jobs))

    def _collect(self) -> None:
        """Takes the outcome of the oldest batch.

        If no worker has begun it, this thread does it, because all workers may be waiting for batches of their own.
        """
        future, jobs = self._flying.popleft()
        self._accept(plan_all(jobs) if future.cancel() else future.result())

    def _accept(self, results: Sequence[PlannedSegment | None]) -> None:
        for planned in results:
            if planned is None:
                raise _Refusal(Reason.NO_ENCODER_MODEL, "no encoder model can follow a part of this stream")
            self._planned.append(planned)
            self._reader.learn_from(planned)
            self._corrections_bytes += len(planned.corrections)
        self._check_recipe_bytes(self._corrections_bytes // _BEST_RATIO, self._wire_length)

    def _check_recipe_bytes(self, recipe_bytes: int, wire_length: int) -> None:
        most = max(self._limits.recipe_floor_bytes, int(wire_length * self._limits.recipe_percent / 100))
        if recipe_bytes > most:
            raise _Refusal(Reason.RECIPE_TOO_LARGE, f"{recipe_bytes} recipe bytes for {wire_length} wire bytes")

    def _refuse(self, stored: Stored) -> None:
        self.refused = stored
        for future, _ in self._flying:
            future.cancel()
        self._flying.clear()
        self._batch.clear()
        self._wire = WireBuffer()
        self._reader = MemberReader(self._limits, self._wire)

    def _assemble(self) -> GzipRecipe | Stored:
        choices = list(dict.fromkeys(planned.choice for planned in self._planned))
        numbers = {choice: index for index, choice in enumerate(choices)}
        results = iter(self._planned)
        members: list[GzipMember] = []
        plain_length = 0
        for opened in self._members:
            taken = [(facts, next(results)) for facts in opened.segments]
            segments = [
                DeflateSegment(plain, bits, numbers[planned.choice], planned.corrections, shared)
                for (plain, bits, shared), planned in taken
            ]
            computed = len(taken) == 1 and taken[0][1].trailer_computed
            members.append(GzipMember(opened.header, None if computed else opened.trailer, segments))
            plain_length += sum(segment.plain_length for segment in segments)
        correction_count = sum(planned.correction_count for planned in self._planned)
        recipe = GzipRecipe(self._wire_length, plain_length, choices, members, bytes(self._trailing), correction_count)
        try:
            self._check_recipe_bytes(len(recipe.to_bytes()), self._wire_length)
        except _Refusal as refusal:
            self.refused = refusal.stored
            return refusal.stored
        return recipe
