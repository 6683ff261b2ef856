"""Which encoder made a stream, and the proved recipes of its segments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reducto.kernel import gzip as kernel

#: Plain bytes of a first trial of a model.
TRIAL_BYTES = 256 << 10
#: Wire bytes per correction that a trial allows; a correction takes about four recipe bytes.
WIRE_BYTES_PER_CORRECTION = 250


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoder model with the member's parameter."""

    model_id: int
    member_param: int = 0

    @property
    def model(self) -> kernel.Model:
        """Its description."""
        return kernel.models()[self.model_id]


@dataclass(frozen=True, slots=True)
class Job:
    """One real segment to be planned: copies of its bytes, so that it can go to any worker."""

    shape: kernel.SegmentShape
    plain: bytes
    wire: bytes
    choices: tuple[Choice, ...]
    """Models to try, most likely first; all of them have warm-up enough in ``plain``."""
    trailer: bytes = b""
    """The member's trailer if the segment is all of the member: then it is tried to compute it."""

    def seen_by(self, model: kernel.Model) -> tuple[kernel.SegmentShape, memoryview]:
        """Shape and plain bytes exactly as rebuilding with ``model`` will have them: no byte more around the
        segment.
        """
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
class Planned:
    """A segment whose recipe was rebuilt and compared with the real bits."""

    choice: Choice
    recipe: bytes
    corrections: int
    trailer_computed: bool = False


def plan(job: Job) -> Planned | None:
    """The smallest proved recipe of the segment among its models; None if no model comes near."""
    best: Planned | None = None
    room = len(job.wire) + 64
    most = max(64, len(job.wire) // 8)
    for choice in job.choices:
        shape, plain = job.seen_by(choice.model)
        found = kernel.plan_segment(shape, plain, job.wire, choice.model_id, choice.member_param, most, room)
        if found is None:
            continue
        recipe, corrections = found
        if best is None or len(recipe) < len(best.recipe):
            best = Planned(choice, recipe, corrections, _trailer_is_computed(job))
        if not recipe:
            break
        room = len(recipe)
    return best


def plan_all(jobs: Sequence[Job]) -> list[Planned | None]:
    """`plan` for each job: one task for many small segments."""
    return [plan(job) for job in jobs]


def member_trailer(plain: bytes | memoryview) -> bytes:
    """CRC-32 and length of a member's plain bytes (RFC 1952 2.3.1)."""
    return zlib.crc32(plain).to_bytes(4, "little") + (len(plain) & 0xFFFFFFFF).to_bytes(4, "little")


def _trailer_is_computed(job: Job) -> bool:
    if len(job.trailer) != 8:
        return False
    return member_trailer(memoryview(job.plain)[job.shape.start : job.shape.stop]) == job.trailer


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a member: plain and wire bytes with its blocks, for the classifier."""

    plain: memoryview
    wire: memoryview
    boundaries: Sequence[tuple[int, int]]
    """Bit and plain position of each block start, and of the end if ``complete``."""
    complete: bool
    raw_blocks: bytes
    header: bytes


def classify(sample: Sample, hint: Sequence[Choice] = ()) -> tuple[Choice, ...]:
    """The models that fit the sample, best first; empty if none does. ``hint``: the models of a member before.

    Every model gets a short trial at the sample's beginning; those that come through are then compared over the rest.
    """
    spans = _spans(sample)
    candidates = list(dict.fromkeys([*hint, *_by_header(sample)]))
    scores: dict[Choice, int] = {}
    if not spans:
        return tuple(candidates[:1])
    for choice in candidates:
        corrections = _trial(sample, spans[0], choice)
        if corrections == 0 and choice in hint and sample.complete and len(spans) == 1:
            return (choice, *(other for other in hint if other != choice))
        if corrections is not None:
            scores[choice] = corrections
    for span in spans[1:]:
        if len(scores) < 2:
            break
        lowest = min(scores.values())
        for choice in [c for c in scores if scores[c] <= 2 * lowest + 16]:
            corrections = _trial(sample, span, choice)
            scores[choice] += span[1] if corrections is None else corrections
    ranked = sorted(scores, key=lambda choice: (scores[choice], candidates.index(choice)))
    return tuple(ranked[:3])


def _spans(sample: Sample) -> list[tuple[int, int]]:
    """Runs of blocks (index of the first, of the one behind the last): a short one, then about 1 MiB each."""
    marks, first = sample.boundaries, 0
    spans: list[tuple[int, int]] = []
    for index in range(1, len(marks)):
        wanted = TRIAL_BYTES if not spans else 1 << 20
        closed = index == len(marks) - 1 or marks[index + 1][1] > marks[index][1]
        if closed and (marks[index][1] - marks[first][1] >= wanted or (sample.complete and index == len(marks) - 1)):
            spans.append((first, index))
            first = index
    return spans


def _trial(sample: Sample, span: tuple[int, int], choice: Choice) -> int | None:
    """Corrections of one span under a model; None: too many to be of use."""
    (bit_start, plain_start), (bit_stop, plain_stop) = sample.boundaries[span[0]], sample.boundaries[span[1]]
    model = choice.model
    base = max(0, plain_start - model.warmup_bytes)
    length = len(sample.plain)
    if not sample.complete and plain_stop + model.lookahead_bytes > length:
        return None if span[0] == 0 else 0
    end = min(length, plain_stop + model.lookahead_bytes)
    last = sample.complete and span[1] == len(sample.boundaries) - 1
    shape = kernel.SegmentShape(
        plain_start - base,
        plain_stop - base,
        base,
        sample.complete and end == length,
        last,
        bit_start & 7,
        bit_stop - bit_start,
    )
    wire = sample.wire[bit_start // 8 : (bit_stop + 7) // 8]
    most = max(16, len(wire) // WIRE_BYTES_PER_CORRECTION)
    found = kernel.plan_segment(
        shape, sample.plain[base:end], wire, choice.model_id, choice.member_param, most, max(256, len(wire) // 50)
    )
    return None if found is None else found[1]


def _by_header(sample: Sample) -> list[Choice]:
    """All models, those first that the header's XFL byte (RFC 1952 2.3.1) speaks for."""
    level = {2: 9, 4: 1}.get(sample.header[8] if len(sample.header) > 8 else 0, 6)
    ordered = sorted(kernel.models().values(), key=lambda model: model.level != level)
    return [Choice(model.model_id, kernel.detect_param(model.model_id, sample.raw_blocks)) for model in ordered]
