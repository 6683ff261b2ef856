"""Corpora to match against, and the hooks by which they are found.

A hook is a sampled chunk fingerprint (sparse indexing, Lillibridge et al., FAST 2009).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import LARGE, PIECE_BYTES, Chunker, ChunkParams
from reducto.kernel.index import ABSENT
from reducto.values import ChunkId, CorpusId

#: A corpus with fewer hooks than this is known by all its chunks, because a small layer corpus may have no hook at all.
FEW_HOOKS = 64


@dataclass(frozen=True, slots=True)
class ReferenceCorpus:
    """A corpus to match against, and the corpora that must be at hand before it can be unpacked from the registry."""

    corpus: Corpus
    requires: frozenset[CorpusId] = frozenset()


class ReferenceSelector(Protocol):
    """Finds the corpora that one encoder may refer to."""

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[ReferenceCorpus]:
        """At most ``limit`` corpora that share most of these fingerprints, best first."""


def hooks_of(corpus: Corpus) -> list[ChunkId]:
    """The fingerprints under which a global index should know ``corpus``."""
    table = corpus.hooks if len(corpus.hooks) >= FEW_HOOKS else corpus.index
    return [ChunkId(fingerprint) for fingerprint, _ in table]


def hooks_of_plain(plain: memoryview, chunking: ChunkParams, anchors: Sequence[int]) -> list[ChunkId]:
    """The hooks that a corpus of these plain bytes and ``anchors`` will have once it is written, as `hooks_of` says."""
    chunker, at = Chunker(chunking), 0
    every: list[ChunkId] = []
    large: list[ChunkId] = []
    while at < len(plain):
        piece = plain[at : at + PIECE_BYTES]
        stop = at + len(piece)
        inside = anchors[bisect_right(anchors, at) : bisect_right(anchors, stop)]
        table = chunker.scan(piece, final=stop == len(plain), anchors=[anchor - at for anchor in inside])
        for _, fingerprint, _, flags in table:
            every.append(ChunkId(fingerprint))
            if flags & LARGE:
                large.append(ChunkId(fingerprint))
        at += table.consumed
    return large if len(large) >= FEW_HOOKS else every


class FixedSelector:
    """Selects from a few corpora that the caller named: those with hits come first, the others fill up."""

    def __init__(self, references: Iterable[ReferenceCorpus | Corpus] = ()) -> None:
        self._references = [r if isinstance(r, ReferenceCorpus) else ReferenceCorpus(r) for r in references]

    def select_similar(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[ReferenceCorpus]:
        """As `ReferenceSelector.select_similar`; a named corpus is used even without a hit, as its owner expects."""
        scored = sorted(self._references, key=lambda r: -_hits(r.corpus, hooks))
        return scored[:limit]


def _hits(corpus: Corpus, hooks: Sequence[ChunkId]) -> int:
    return sum(offset != ABSENT for offset in corpus.index.find_many(hooks))
