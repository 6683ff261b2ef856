"""Finds, by trying, a corpus that resembles new bytes but shares no chunk with them: yesterday's log for today's."""

from __future__ import annotations

from collections.abc import Sequence

from reducto.codec.frames import compress_against, compress_literal
from reducto.codec.references import ReferenceCorpus
from reducto.kernel.matching import Extent

#: Fewer new bytes than this are not tried.
LEAST_BYTES = 64 << 10
#: New bytes that are compressed for a trial, and bytes of the reference that they are compressed against.
_SAMPLE_BYTES = 64 << 10
_NEAR_BYTES = 512 << 10
#: How many references are tried.
_TRIALS = 2
# A reference is similar if the sample against it takes less than 70 % of what the sample takes alone.
_WORTH = 0.7


def find_similar_base(
    references: Sequence[ReferenceCorpus], data: bytes | memoryview, offset: int, level: int
) -> int | None:
    """The number of the first of two references that ``data`` resembles, or None.

    ``data`` is the blob's new bytes from ``offset``. Its first 64 KiB are compressed against what the reference holds
    at about the same offset. Raises `SegmentCorrupt`.
    """
    sample = bytes(data[:_SAMPLE_BYTES])
    alone = len(compress_literal(sample, level))
    for number, reference in enumerate(references[:_TRIALS], 1):
        near = extent_near(references, number, offset, len(sample), _NEAR_BYTES)
        base = bytes(reference.corpus.view(near.offset, near.length))
        if base and len(compress_against(sample, base, level)[1]) < _WORTH * alone:
            return number
    return None


def extent_near(
    references: Sequence[ReferenceCorpus], number: int, offset: int, length: int, most_bytes: int
) -> Extent:
    """Up to ``most_bytes`` of reference ``number`` around the middle of the ``length`` bytes at ``offset``."""
    whole = references[number - 1].corpus.plain_length
    most = min(whole, most_bytes)
    start = max(0, min(offset + length // 2 - most // 2, whole - most))
    return Extent(number, start, most)
