"""Which encoder model fits the beginning of a gzip member, found by trying models on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reducto.gzip.block_starts import BlockStarts
from reducto.gzip.encoder_choice import EncoderChoice, EncoderEvidence
from reducto.gzip.planning import most_corrections, score_choices
from reducto.kernel import gzip as kernel

#: Plain bytes of the first trial of a model.
TRIAL_BYTES = 256 << 10
#: Plain bytes of each later trial.
_NEXT_TRIAL_BYTES = 1 << 20
#: Plain bytes behind a trial that a model may look at; no model looks further.
LOOKAHEAD_BYTES = 1 << 16
#: Models that are kept when several come near. Planning tries them on each segment until one is exact.
_MOST_CHOICES = 3


@dataclass(frozen=True, slots=True)
class MemberSample:
    """The beginning of a member: plain and wire bytes with its blocks."""

    plain: memoryview
    wire: memoryview
    starts: BlockStarts
    """Where blocks start, and last the end if ``complete``."""
    complete: bool
    evidence: EncoderEvidence

    @property
    def is_one_trial(self) -> bool:
        """Whether the first trial of the models covers the whole member."""
        return self.complete and len(_spans(self)) == 1


def classify(sample: MemberSample, hint: Sequence[EncoderChoice] = ()) -> tuple[EncoderChoice, ...] | None:
    """The encoder models that fit the sample, best first; empty if none does; None if it is too short to tell.

    ``hint`` are the models of an earlier member of the same blob.

    The likeliest model that makes the first 1.25 MiB exactly is taken: if it is wrong about what follows, planning
    notices that and tries the others. If none is exact, those that come near are compared over the rest of the sample.
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
        # The second trial covers the first one's bytes, too, because some models are exact only in segments that begin
        # at the start or at multiples of their alignment.
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
    return tuple(ranked[:_MOST_CHOICES])


def _nearest(scores: dict[EncoderChoice, int]) -> dict[EncoderChoice, int]:
    """The choices that need at most half as many corrections again as the best, or two more than it."""
    best = min(scores.values(), default=0)
    return {choice: score for choice, score in scores.items() if score <= best + max(2, best // 2)}


def _spans(sample: MemberSample) -> list[tuple[int, int]]:
    """The runs of blocks to try, as indices of the first block and of the one behind the last.

    The first run has at least `TRIAL_BYTES`, each later one about 1 MiB.
    """
    plains, first = sample.starts.plains, 0
    spans: list[tuple[int, int]] = []
    for index in range(1, len(plains)):
        last = index == len(plains) - 1
        wanted = TRIAL_BYTES if not spans else _NEXT_TRIAL_BYTES
        closed = sample.complete if last else plains[index + 1] > plains[index]
        closed = closed and (sample.complete or len(sample.plain) >= plains[index] + LOOKAHEAD_BYTES)
        if closed and (plains[index] - plains[first] >= wanted or (sample.complete and last)):
            spans.append((first, index))
            first = index
    return spans


def _trial(sample: MemberSample, span: tuple[int, int], choices: Sequence[EncoderChoice]) -> dict[EncoderChoice, int]:
    """The corrections that one run of blocks needs under each of the models that come near."""
    (bit_start, plain_start), (bit_stop, plain_stop) = sample.starts[span[0]], sample.starts[span[1]]
    warmup = max(choice.model.warmup_bytes for choice in choices)
    low, high = max(0, plain_start - warmup), min(len(sample.plain), plain_stop + LOOKAHEAD_BYTES)
    last = sample.complete and span[1] == len(sample.starts) - 1
    ends = sample.complete and high == len(sample.plain)
    shape = kernel.SegmentShape(
        plain_start - low, plain_stop - low, low, ends, last, bit_start & 7, bit_stop - bit_start
    )
    wire = sample.wire[bit_start // 8 : (bit_stop + 7) // 8]
    return score_choices(shape, sample.plain[low:high], wire, choices, most_corrections(len(wire)))
