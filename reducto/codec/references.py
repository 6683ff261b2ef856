"""Where an encoder looks for relatives of what it encodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import LARGE, PIECE_BYTES, Chunker, ChunkParams
from reducto.kernel.index import ABSENT
from reducto.values import ChunkId, CorpusId

#: A corpus with fewer hooks than this is also known by its ordinary chunks: small layer corpora have hardly any hook.
FEW_HOOKS = 64


@dataclass(frozen=True, slots=True)
class ReferenceCorpus:
    """A corpus to match against, and what else must be at hand before it can itself be unpacked from the registry."""

    corpus: Corpus
    requires: frozenset[CorpusId] = frozenset()


class ReferenceSelector(Protocol):
    """All corpora that one encoder may refer to."""

    def elect(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[ReferenceCorpus]:
        """The at most ``limit`` corpora that share most of these fingerprints, best first."""


def hooks_of(corpus: Corpus) -> list[ChunkId]:
    """The fingerprints under which a global index should know ``corpus``."""
    table = corpus.hooks if len(corpus.hooks) >= FEW_HOOKS else corpus.index
    return [ChunkId(fingerprint) for fingerprint, _ in table]


def hooks_of_plain(plain: memoryview, chunking: ChunkParams, anchors: Sequence[int]) -> list[ChunkId]:
    """The same fingerprints of a corpus that is not written yet: its plain bytes, and where chunks end anyway."""
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
    """A few corpora that the caller named: those with hits come first, the others fill up."""

    def __init__(self, references: Iterable[ReferenceCorpus | Corpus] = ()) -> None:
        self._references = [r if isinstance(r, ReferenceCorpus) else ReferenceCorpus(r) for r in references]

    def elect(self, hooks: Sequence[ChunkId], limit: int) -> Sequence[ReferenceCorpus]:
        """As `ReferenceSelector.elect`; a named corpus is used even without a hit, since its owner expects one."""
        scored = sorted(self._references, key=lambda r: -_hits(r.corpus, hooks))
        return scored[:limit]


def _hits(corpus: Corpus, hooks: Sequence[ChunkId]) -> int:
    return sum(offset != ABSENT for offset in corpus.index.find_many(hooks))
