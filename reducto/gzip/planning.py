"""Which encoder made a stream, and the proved recipes of its segments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reducto.kernel import gzip as kernel

#: Plain bytes of a first trial of a model.
TRIAL_BYTES = 256 << 10
#: Plain bytes behind a trial; no model needs more.
LOOKAHEAD_BYTES = 1 << 16
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


def classify(sample: Sample, hint: Sequence[Choice] = ()) -> tuple[Choice, ...] | None:
    """The models that fit the sample, best first; empty if none does; None if it is too short to tell.

    ``hint``: the models of a member before.

    Every model gets a short trial at the sample's beginning; those that come through are then compared over the rest.
    """
    spans = _spans(sample)
    candidates = list(dict.fromkeys([*hint, *_by_header(sample)]))
    if not spans:
        return None
    if hint and sample.complete and len(spans) == 1 and _trial(sample, spans[0], hint[:1]) == {hint[0]: 0}:
        return tuple(hint)
    scores = _trial(sample, spans[0], candidates)
    for span in spans[1:]:
        scores = _nearest(scores)
        if len(scores) < 2:
            break
        more = _trial(sample, span, sorted(scores, key=lambda choice: scores[choice]))
        scores = {choice: scores[choice] + more[choice] for choice in more}
    ranked = sorted(scores, key=lambda choice: (scores[choice], candidates.index(choice)))
    return tuple(ranked[:3])


def _nearest(scores: dict[Choice, int]) -> dict[Choice, int]:
    """Those not clearly behind. Stored blocks hide tokens, so on them many models are near for a long time."""
    bar = min(scores.values(), default=0)
    return {choice: score for choice, score in scores.items() if score <= bar + max(2, bar // 2)}


def _spans(sample: Sample) -> list[tuple[int, int]]:
    """Runs of blocks (index of the first, of the one behind the last): a short one, then about 1 MiB each."""
    marks, first = sample.boundaries, 0
    spans: list[tuple[int, int]] = []
    for index in range(1, len(marks)):
        wanted = TRIAL_BYTES if not spans else 1 << 20
        closed = sample.complete if index == len(marks) - 1 else marks[index + 1][1] > marks[index][1]
        closed = closed and (sample.complete or len(sample.plain) >= marks[index][1] + LOOKAHEAD_BYTES)
        if closed and (marks[index][1] - marks[first][1] >= wanted or (sample.complete and index == len(marks) - 1)):
            spans.append((first, index))
            first = index
    return spans


def _trial(sample: Sample, span: tuple[int, int], choices: Sequence[Choice]) -> dict[Choice, int]:
    """Corrections of one span under each of the models that come near."""
    (bit_start, plain_start), (bit_stop, plain_stop) = sample.boundaries[span[0]], sample.boundaries[span[1]]
    warmup = max(choice.model.warmup_bytes for choice in choices)
    lookahead = max(choice.model.lookahead_bytes for choice in choices)
    low, high = max(0, plain_start - warmup), min(len(sample.plain), plain_stop + lookahead)
    last = sample.complete and span[1] == len(sample.boundaries) - 1
    ends = sample.complete and high == len(sample.plain)
    shape = kernel.SegmentShape(
        plain_start - low, plain_stop - low, low, ends, last, bit_start & 7, bit_stop - bit_start
    )
    wire = sample.wire[bit_start // 8 : (bit_stop + 7) // 8]
    most = max(64, len(wire) // WIRE_BYTES_PER_CORRECTION)
    pairs = [(choice.model_id, choice.member_param) for choice in choices]
    scores = kernel.try_models(shape, sample.plain[low:high], wire, pairs, most)
    return {choice: score for choice, score in zip(choices, scores, strict=True) if score is not None}


def _by_header(sample: Sample) -> list[Choice]:
    """All models, those first that the header's XFL byte (RFC 1952 2.3.1) speaks for."""
    level = {2: 9, 4: 1}.get(sample.header[8] if len(sample.header) > 8 else 0, 6)
    ordered = sorted(kernel.models().values(), key=lambda model: model.level != level)
    return [Choice(model.model_id, kernel.detect_param(model.model_id, sample.raw_blocks)) for model in ordered]
