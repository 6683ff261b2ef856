"""The decision whether to reduce a blob, by a sample of it. It is recorded, and real sizes may still overrule it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from reducto.codec.references import ReferenceCorpus
from reducto.kernel.chunking import Chunker, ChunkParams, ChunkTable
from reducto.kernel.index import ABSENT
from reducto.values import ChunkId

#: Unmatched bytes that are compressed to estimate how well all of them compress.
_PROBE_BYTES = 1 << 20
# An unmatched byte beside matched ones is taken to cost half its compressed size, because most have a delta base.
_NEAR_MATCH_COST = 0.5
# A blob of which references hold less than 5 % is the first of its kind. If the probe shrinks to less than 90 %, the
# blob may become a reference itself.
_FIRST_OF_ITS_KIND = 0.05
_COMPRESSIBLE = 0.9


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The gate's answer.

    ``score`` is the differential advantage: the part (0 to 1) of the wire bytes that reducing probably saves.
    ``hit_rate`` is the part of the sampled plain bytes that references hold.
    """

    score: float
    hit_rate: float
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class GateSample:
    """The first plain bytes of a blob, cut into chunks; ``wire_length`` wire bytes were read for them."""

    data: memoryview
    wire_length: int
    chunks: tuple[tuple[int, int, int, int], ...]
    """Offset, fingerprint, length and flags of each."""

    @classmethod
    def take(cls, data: memoryview, wire_length: int, params: ChunkParams, anchors: Sequence[int]) -> GateSample:
        """The sample ``data``, chunked as the matcher will chunk it."""
        table: ChunkTable = Chunker(params).scan(data, final=True, anchors=anchors)
        return cls(data, wire_length, tuple(table))

    def hooks(self) -> list[ChunkId]:
        """The fingerprints of all chunks, so that similar corpora are found even if they are small."""
        return [ChunkId(chunk[1]) for chunk in self.chunks]


def decide(sample: GateSample, references: Sequence[ReferenceCorpus], minimum_score: float) -> GateDecision:
    """Whether to reduce the blob, by what reducing ``sample`` would save.

    A compressible blob without a similar corpus is accepted whatever its score, because nothing can ever refer to a
    blob that is stored as it came: its successors would find no similar corpus either. Its real size still decides in
    the end.
    """
    if not sample.data:
        return GateDecision(0.0, 0.0, False, "empty")
    missed = _missed(sample, references)
    hit_rate = 1 - sum(chunk[2] for chunk in missed) / len(sample.data)
    share = _compressed_share(sample, missed)
    cost = len(sample.data) * (1 - hit_rate) * share
    if hit_rate:
        cost *= _NEAR_MATCH_COST
    score = max(0.0, min(1.0, 1 - cost / max(sample.wire_length, 1)))
    part = f"references hold {hit_rate:.1%} of the sample; reducing would save about {score:.1%} of the wire bytes"
    if score >= minimum_score:
        return GateDecision(score, hit_rate, True, part)
    if hit_rate < _FIRST_OF_ITS_KIND and share < _COMPRESSIBLE:
        return GateDecision(score, hit_rate, True, f"{part}; first of its kind, kept for later ones to refer to")
    return GateDecision(score, hit_rate, False, f"{part}, less than {minimum_score:.1%}")


def _missed(sample: GateSample, references: Sequence[ReferenceCorpus]) -> list[tuple[int, int, int, int]]:
    """The chunks that no reference holds."""
    missed = list(sample.chunks)
    for reference in references:
        offsets = reference.corpus.index.find_many([chunk[1] for chunk in missed])
        missed = [chunk for chunk, offset in zip(missed, offsets, strict=True) if offset == ABSENT]
    return missed


def _compressed_share(sample: GateSample, missed: Sequence[tuple[int, int, int, int]]) -> float:
    """The part of the unmatched bytes that zstd's fastest level leaves, by a probe spread over them."""
    step = max(1, sum(chunk[2] for chunk in missed) // _PROBE_BYTES)
    probe = b"".join(bytes(sample.data[c[0] : c[0] + c[2]]) for c in missed[::step])
    return len(zstandard.ZstdCompressor(level=1).compress(probe)) / len(probe) if probe else 0.0
