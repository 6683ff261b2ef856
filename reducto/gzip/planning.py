"""Finds the corrections of a segment, with which its encoder model makes exactly the real bits, and proves them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reducto.gzip.encoder_choice import EncoderChoice, EncoderEvidence
from reducto.kernel import gzip as kernel

#: Wire bytes per correction that a trial allows. A correction takes about four bytes of the recipe, so this is 1.6 %.
WIRE_BYTES_PER_CORRECTION = 250
# A trial allows this many corrections however short it is.
_LEAST_CORRECTIONS = 64
# A planned segment may have one correction per eight wire bytes: whether that pays is decided for the whole recipe.
_WIRE_BYTES_PER_PLANNED_CORRECTION = 8
# Corrections may take this much more than the segment's wire bytes, so that the form that holds the bits fits in.
_CORRECTIONS_SPARE_BYTES = 64
#: CRC-32 and length that end a member (RFC 1952 2.3).
_TRAILER_BYTES = 8


def most_corrections(wire_length: int) -> int:
    """How many corrections a trial over so many wire bytes allows."""
    return max(_LEAST_CORRECTIONS, wire_length // WIRE_BYTES_PER_CORRECTION)


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """One real segment to be planned: copies of its bytes, so that it can go to any worker."""

    shape: kernel.SegmentShape
    plain: memoryview
    wire: memoryview
    choices: tuple[EncoderChoice, ...]
    """Models to try, most likely first. ``plain`` has warm-up and lookahead enough for any model."""
    trailer: bytes = b""
    """The member's trailer if this is its only segment: planning finds out whether it can be computed."""
    evidence: EncoderEvidence | None = None
    """With it all other models are tried, too, when none of ``choices`` is exact."""

    def seen_by(self, model: kernel.EncoderModel) -> tuple[kernel.SegmentShape, memoryview]:
        """Shape and plain bytes exactly as rebuilding with ``model`` will have them: only its warm-up and lookahead."""
        shape, view = self.shape, memoryview(self.plain)
        cut = max(0, shape.start - model.warmup_bytes)
        end = min(len(view), shape.stop + model.lookahead_bytes)
        narrow = replace(
            shape,
            start=shape.start - cut,
            stop=shape.stop - cut,
            offset=shape.offset + cut,
            ends=shape.ends and end == len(view),
        )
        return narrow, view[cut:end]


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """A segment whose corrections were applied and the outcome compared with the real bits."""

    choice: EncoderChoice
    corrections: bytes
    correction_count: int
    trailer_computed: bool = False
    all_tried: bool = False
    """Whether all models were tried for it."""

    @property
    def exact(self) -> bool:
        """Whether the model needs no correction."""
        return not self.corrections


def plan(job: SegmentJob) -> PlannedSegment | None:
    """The shortest proved corrections of the segment among its models; None if no model comes near."""
    best = _best(job, job.choices, None)
    if (best is not None and best.exact) or job.evidence is None:
        return best
    others = [choice for choice in job.evidence.candidates() if choice not in job.choices]
    most = max(best.correction_count if best else 0, most_corrections(len(job.wire)))
    scores = score_choices(job.shape, job.plain, job.wire, others, most)
    best = _best(job, sorted(scores, key=lambda choice: scores[choice])[:1], best)
    return best and replace(best, all_tried=True)


def plan_all(jobs: Sequence[SegmentJob]) -> list[PlannedSegment | None]:
    """The outcome of `plan` for each job: many small segments make one task for a worker."""
    return [plan(job) for job in jobs]


def score_choices(
    shape: kernel.SegmentShape,
    plain: bytes | bytearray | memoryview,
    wire: bytes | memoryview,
    choices: Sequence[EncoderChoice],
    most: int,
) -> dict[EncoderChoice, int]:
    """The number of corrections that a segment needs under each of these models, if it is at most ``most``."""
    pairs = [(choice.model_id, choice.member_param) for choice in choices]
    scores = kernel.try_models(shape, plain, wire, pairs, most)
    return {choice: score for choice, score in zip(choices, scores, strict=True) if score is not None}


def _best(job: SegmentJob, choices: Sequence[EncoderChoice], best: PlannedSegment | None) -> PlannedSegment | None:
    """The plan with the shortest corrections among these models and ``best``."""
    most_bytes = len(best.corrections) if best else len(job.wire) + _CORRECTIONS_SPARE_BYTES
    most = max(_LEAST_CORRECTIONS, len(job.wire) // _WIRE_BYTES_PER_PLANNED_CORRECTION)
    for choice in choices:
        shape, plain = job.seen_by(choice.model)
        found = kernel.plan_segment(shape, plain, job.wire, choice.model_id, choice.member_param, most, most_bytes)
        if found is None:
            continue
        corrections, count = found
        if best is None or len(corrections) < len(best.corrections):
            best = PlannedSegment(choice, corrections, count, _trailer_is_computed(job))
        if not corrections:
            break
        most_bytes = len(corrections)
    return best


def member_trailer(plain: bytes | memoryview) -> bytes:
    """CRC-32 and length modulo 2^32 of a member's plain bytes (RFC 1952 2.3.1)."""
    return zlib.crc32(plain).to_bytes(4, "little") + (len(plain) & 0xFFFFFFFF).to_bytes(4, "little")


def _trailer_is_computed(job: SegmentJob) -> bool:
    if len(job.trailer) != _TRAILER_BYTES:
        return False
    return member_trailer(memoryview(job.plain)[job.shape.start : job.shape.stop]) == job.trailer
