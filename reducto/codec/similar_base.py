"""Relatives that share no chunk with new bytes, as today's log and yesterday's: found by trying."""

from __future__ import annotations

from collections.abc import Sequence

from reducto.codec.frames import compress_literal, compress_related
from reducto.codec.references import ReferenceCorpus
from reducto.kernel.matching import Extent

#: New bytes that are too few for a trial.
LEAST_BYTES = 64 << 10
_SAMPLE_BYTES = 64 << 10
_NEAR_BYTES = 512 << 10
_TRIALS = 2
# What the sample must come down to beside its relative, as part of what it takes alone.
_WORTH = 0.7


def find_similar_base(
    references: Sequence[ReferenceCorpus], data: bytes | memoryview, place: int, level: int
) -> int | None:
    """Number of the first of a few references beside which ``data`` takes much less than alone, if there is one.

    Tried on the first bytes of ``data`` and what the reference holds about the same ``place``. Raises `SegmentCorrupt`.
    """
    sample = bytes(data[:_SAMPLE_BYTES])
    alone = len(compress_literal(sample, level))
    for number, reference in enumerate(references[:_TRIALS], 1):
        near = stretch_at(references, number, place, len(sample), _NEAR_BYTES)
        twins = bytes(reference.corpus.view(near.offset, near.length))
        if twins and len(compress_related(sample, twins, level)[1]) < _WORTH * alone:
            return number
    return None


def stretch_at(references: Sequence[ReferenceCorpus], number: int, place: int, length: int, most_bytes: int) -> Extent:
    """What reference ``number`` holds about the middle of ``length`` bytes at ``place``; all of it if it is short."""
    whole = references[number - 1].corpus.plain_length
    most = min(whole, most_bytes)
    start = max(0, min(place + length // 2 - most // 2, whole - most))
    return Extent(number, start, most)
