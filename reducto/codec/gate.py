"""The decision whether to reduce, from a sample: cheap, recorded, and never final against the real sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from reducto.codec.references import ReferenceCorpus
from reducto.kernel.chunking import Chunker, ChunkParams, ChunkTable
from reducto.kernel.index import ABSENT
from reducto.values import ChunkId

_PROBE_BYTES = 1 << 20
# What an unmatched byte beside matched ones costs, as part of its compressed size: most of it has a twin.
_NEAR_MATCH_COST = 0.5
# A blob of which references hold less is the first of its kind; if it compresses this well it may become a reference.
_RELATED_HIT_RATE = 0.05
_SEED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer. ``score`` is the differential advantage: the part (0..1) of the wire bytes that reducing
    probably saves. ``hit_rate`` is the part of the sampled plain bytes that references hold."""

    score: float
    hit_rate: float
    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The first plain bytes of a blob, cut into chunks; ``wire_length`` wire bytes were read for them."""

    data: memoryview
    wire_length: int
    chunks: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def take(cls, data: memoryview, wire_length: int, params: ChunkParams, anchors: Sequence[int]) -> Sample:
        """The sample ``data``, chunked as the matcher will chunk it."""
        table: ChunkTable = Chunker(params).scan(data, final=True, anchors=anchors)
        return cls(data, wire_length, tuple(table))

    def hooks(self) -> list[ChunkId]:
        """Every chunk's fingerprint: relatives are found even if they are small."""
        return [ChunkId(chunk[1]) for chunk in self.chunks]


def judge(sample: Sample, references: Sequence[ReferenceCorpus], minimum_score: float) -> Verdict:
    """What reducing the blob would save, judged by ``sample``.

    A compressible blob without relatives is accepted whatever its score: nothing can ever refer to a blob that is
    stored as it came, so its successors would find no relatives either. Its real size still decides in the end.
    """
    if not sample.data:
        return Verdict(0.0, 0.0, False, "empty")
    missed = _missed(sample, references)
    hit_rate = 1 - sum(chunk[2] for chunk in missed) / len(sample.data)
    share = _compressed_share(sample, missed)
    cost = len(sample.data) * (1 - hit_rate) * share
    if hit_rate:
        cost *= _NEAR_MATCH_COST
    score = max(0.0, min(1.0, 1 - cost / max(sample.wire_length, 1)))
    part = f"references hold {hit_rate:.1%} of the sample; reducing would save about {score:.1%} of the wire bytes"
    if score >= minimum_score:
        return Verdict(score, hit_rate, True, part)
    if hit_rate < _RELATED_HIT_RATE and share < _SEED_SHARE:
        return Verdict(score, hit_rate, True, f"{part}; first of its kind, kept for later ones to refer to")
    return Verdict(score, hit_rate, False, f"{part}, less than {minimum_score:.1%}")


def _missed(sample: Sample, references: Sequence[ReferenceCorpus]) -> list[tuple[int, int, int, int]]:
    missed = list(sample.chunks)
    for reference in references:
        offsets = reference.corpus.index.find_many([chunk[1] for chunk in missed])
        missed = [chunk for chunk, offset in zip(missed, offsets, strict=True) if offset == ABSENT]
    return missed


def _compressed_share(sample: Sample, missed: Sequence[tuple[int, int, int, int]]) -> float:
    """What zstd's fastest level leaves of the unmatched bytes, by a probe spread over them."""
    step = max(1, sum(chunk[2] for chunk in missed) // _PROBE_BYTES)
    probe = b"".join(bytes(sample.data[c[0] : c[0] + c[2]]) for c in missed[::step])
    return len(zstandard.ZstdCompressor(level=1).compress(probe)) / len(probe) if probe else 0.0
