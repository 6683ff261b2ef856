"""Which encoder made a stream, and the proved recipes of its segments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reducto.gzip.block_starts import Boundaries
from reducto.kernel import gzip as kernel

#: Plain bytes of a first trial of a model.
TRIAL_BYTES = 256 << 10
#: Plain bytes behind a trial; no model needs more.
LOOKAHEAD_BYTES = 1 << 16
#: Wire bytes per correction that a trial allows; a correction takes about four recipe bytes.
WIRE_BYTES_PER_CORRECTION = 250

_GO_ZERO_TIME = bytes.fromhex("00096e88")  # what Go's time.Time{} becomes in 32 bits; pgzip writes it
_OS_UNKNOWN = 255
_HAS_NAME = 0x08
_LEAST_JOB_BYTES = 32768  # pigz takes no smaller block


def _most_in_trial(wire_length: int) -> int:
    return max(64, wire_length // WIRE_BYTES_PER_CORRECTION)


@dataclass(frozen=True, slots=True)
class Choice:
    """An encoder model with the member's parameter."""

    model_id: int
    member_param: int = 0

    @property
    def model(self) -> kernel.EncoderModel:
        """Its description."""
        return kernel.models()[self.model_id]


@dataclass(frozen=True, slots=True)
class EncoderEvidence:
    """What a member shows of its encoder without a trial: header and first blocks (`kernel.BLOCK` entries)."""

    header: bytes
    raw_blocks: bytes

    def candidates(self) -> list[Choice]:
        """All models, the likely ones first."""
        level, families = self._likely()
        ordered = sorted(
            kernel.models().values(), key=lambda model: (model.level != level, not model.name.startswith(families))
        )
        choices = []
        for model in ordered:
            param = kernel.detect_param(model.model_id, self.raw_blocks)
            choices.append(Choice(model.model_id, param))
            if model.name.startswith("pigz-") and param >= 2 * _LEAST_JOB_BYTES:
                choices.append(Choice(model.model_id, param // 2))  # every other job may have left no marker
        return choices

    def _likely(self) -> tuple[int, tuple[str, ...]]:
        """Level by XFL, families by the fields that each fills in its own way (RFC 1952 2.3.1)."""
        if len(self.header) < 10:
            return 6, ("go-",)
        level = {2: 9, 4: 1}.get(self.header[8], 6)
        if self.header[4:8] == _GO_ZERO_TIME:
            return level, ("pgzip-", "klauspost-")
        if self.header[9] == _OS_UNKNOWN:
            return level, ("go-", "klauspost-")
        return level, ("gnu-gzip-",) if self.header[3] & _HAS_NAME else ("zlib-", "gnu-gzip-")


@dataclass(frozen=True, slots=True)
class Job:
    """One real segment to be planned: copies of its bytes, so that it can go to any worker."""

    shape: kernel.SegmentShape
    plain: memoryview
    wire: memoryview
    choices: tuple[Choice, ...]
    """Models to try, most likely first. ``plain`` has warm-up and lookahead enough for any model."""
    trailer: bytes = b""
    """The member's trailer if the segment is all of the member: then it is tried to compute it."""
    evidence: EncoderEvidence | None = None
    """With these all other models are asked, too, when none of ``choices`` is exact."""

    def seen_by(self, model: kernel.EncoderModel) -> tuple[kernel.SegmentShape, memoryview]:
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
    all_asked: bool = False
    """Whether all models were tried for it."""

    @property
    def exact(self) -> bool:
        """Whether the model was right about everything."""
        return not self.recipe


def plan(job: Job) -> Planned | None:
    """The smallest proved recipe of the segment among its models; None if no model comes near."""
    best = _best(job, job.choices, None)
    if (best is not None and best.exact) or job.evidence is None:
        return best
    others = [choice for choice in job.evidence.candidates() if choice not in job.choices]
    most = max(best.corrections if best else 0, _most_in_trial(len(job.wire)))
    scores = _scores(job.shape, job.plain, job.wire, others, most)
    best = _best(job, sorted(scores, key=lambda choice: scores[choice])[:1], best)
    return best and replace(best, all_asked=True)


def _scores(
    shape: kernel.SegmentShape,
    plain: bytes | bytearray | memoryview,
    wire: bytes | memoryview,
    choices: Sequence[Choice],
    most: int,
) -> dict[Choice, int]:
    """Corrections of a segment under each of these models that needs at most ``most``."""
    pairs = [(choice.model_id, choice.member_param) for choice in choices]
    scores = kernel.try_models(shape, plain, wire, pairs, most)
    return {choice: score for choice, score in zip(choices, scores, strict=True) if score is not None}


def _best(job: Job, choices: Sequence[Choice], best: Planned | None) -> Planned | None:
    """The smallest proved recipe among these models and ``best``."""
    room = len(best.recipe) if best else len(job.wire) + 64
    most = max(64, len(job.wire) // 8)
    for choice in choices:
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
    boundaries: Boundaries
    """Of each block start, and of the end if ``complete``."""
    complete: bool
    evidence: EncoderEvidence

    @property
    def is_one_trial(self) -> bool:
        """Whether the first trial of the models is over all of the member."""
        return self.complete and len(_spans(self)) == 1


def classify(sample: Sample, hint: Sequence[Choice] = ()) -> tuple[Choice, ...] | None:
    """The models that fit the sample, best first; empty if none does; None if it is too short to tell.

    ``hint``: the models of a member before.

    The likeliest model that makes the first MiB or so exactly is taken: if it is wrong about what follows, planning
    finds out and asks the others. If none is exact, those that come near are compared over the rest of the sample.
    """
    spans = _spans(sample)
    if not spans:
        return None
    if hint and sample.is_one_trial:
        return tuple(hint)
    candidates = list(dict.fromkeys([*hint, *sample.evidence.candidates()]))
    scores, left = {}, candidates
    while left:
        found = _trial(sample, spans[0], left)
        scores.update(found)
        exact = next((choice for choice, score in found.items() if score == 0), None)
        if exact is None:
            break
        # From the very start: in mid-stream only aligned segments of some models are exact.
        if len(spans) == 1 or _trial(sample, (spans[0][0], spans[1][1]), [exact]) == {exact: 0}:
            return (exact,)
        left = left[left.index(exact) + 1 :]
    for span in spans[1:]:
        scores = _nearest(scores)
        if len(scores) < 2:
            break
        more = _trial(sample, span, sorted(scores, key=lambda choice: scores[choice]))
        scores = {choice: scores[choice] + more[choice] for choice in more}
    ranked = sorted(scores, key=lambda choice: (scores[choice], candidates.index(choice)))
    return tuple(ranked[:3])


def _nearest(scores: dict[Choice, int]) -> dict[Choice, int]:
    """Those not clearly behind."""
    bar = min(scores.values(), default=0)
    return {choice: score for choice, score in scores.items() if score <= bar + max(2, bar // 2)}


def _spans(sample: Sample) -> list[tuple[int, int]]:
    """Runs of blocks (index of the first, of the one behind the last): a short one, then about 1 MiB each."""
    plains, first = sample.boundaries.plains, 0
    spans: list[tuple[int, int]] = []
    for index in range(1, len(plains)):
        last = index == len(plains) - 1
        wanted = TRIAL_BYTES if not spans else 1 << 20
        closed = sample.complete if last else plains[index + 1] > plains[index]
        closed = closed and (sample.complete or len(sample.plain) >= plains[index] + LOOKAHEAD_BYTES)
        if closed and (plains[index] - plains[first] >= wanted or (sample.complete and last)):
            spans.append((first, index))
            first = index
    return spans


def _trial(sample: Sample, span: tuple[int, int], choices: Sequence[Choice]) -> dict[Choice, int]:
    """Corrections of one span under each of the models that come near."""
    (bit_start, plain_start), (bit_stop, plain_stop) = sample.boundaries[span[0]], sample.boundaries[span[1]]
    warmup = max(choice.model.warmup_bytes for choice in choices)
    low, high = max(0, plain_start - warmup), min(len(sample.plain), plain_stop + LOOKAHEAD_BYTES)
    last = sample.complete and span[1] == len(sample.boundaries) - 1
    ends = sample.complete and high == len(sample.plain)
    shape = kernel.SegmentShape(
        plain_start - low, plain_stop - low, low, ends, last, bit_start & 7, bit_stop - bit_start
    )
    wire = sample.wire[bit_start // 8 : (bit_stop + 7) // 8]
    return _scores(shape, sample.plain[low:high], wire, choices, _most_in_trial(len(wire)))
