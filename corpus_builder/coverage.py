"""Measures how much of some data corpora hold: exact chunks, files in another version, and what is new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus_builder.cutting import Chunk, Cut, TarMember, cut
from corpus_builder.sources import PlainSource
from reducto.corpus.reader import Corpus
from reducto.kernel.chunking import ChunkParams
from reducto.kernel.index import ABSENT


@dataclass
class Usage:
    """The use that the data made of one corpus, in plain bytes.

    ``hit_bytes`` counts a chunk of the corpus each time that the data hold it, ``used`` (fingerprint -> length) once.
    """

    corpus: Corpus
    hit_bytes: int = 0
    used: dict[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        used = sum(self.used.values())
        return {
            "path": str(self.corpus.path),
            "id": self.corpus.id,
            "plain_bytes": self.corpus.plain_length,
            "hit_bytes": self.hit_bytes,
            "used_bytes": used,
            "use_rate": _rate(used, self.corpus.plain_length),
        }


@dataclass
class Coverage:
    """The plain bytes of one source, sorted by where a rebuilt copy would take them from.

    ``hit_bytes`` lie in corpora, ``repeat_bytes`` occurred earlier in the data, ``similar_bytes`` belong to a file of
    which a corpus holds another version, and `new_bytes` are the rest of ``plain_bytes``.
    """

    name: str
    plain_bytes: int = 0
    hit_bytes: int = 0
    repeat_bytes: int = 0
    similar_bytes: int = 0
    reduced_bytes: int | None = None
    """The size of the encoded source; None if it was not encoded."""

    @property
    def new_bytes(self) -> int:
        return self.plain_bytes - self.hit_bytes - self.repeat_bytes - self.similar_bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "plain_bytes": self.plain_bytes,
            "hit_bytes": self.hit_bytes,
            "repeat_bytes": self.repeat_bytes,
            "twin_bytes": self.similar_bytes,  # The key keeps its old name because scripts read it.
            "new_bytes": self.new_bytes,
            "hit_rate": _rate(self.hit_bytes, self.plain_bytes),
            "reduced_bytes": self.reduced_bytes,
        }


class Analysis:
    """Measures sources against corpora. A chunk that several corpora hold counts for the first of them."""

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self.usages = [Usage(corpus) for corpus in corpora]
        self.coverages: list[Coverage] = []
        self._chunking = corpora[0].chunking if corpora else ChunkParams()
        self._seen: set[int] = set()
        self._members: list[TarMember] = []

    def add(self, source: PlainSource, advance: Callable[[int], None] = lambda _: None) -> Coverage:
        """Measures one source. A chunk that occurred earlier in it, or in an earlier source, counts as a repeat."""
        coverage = Coverage(source.name)
        self.coverages.append(coverage)
        self._members = []
        for piece in cut(source, self._chunking):
            self._add_cut(piece, coverage)
            advance(len(piece.data))
        return coverage

    def _add_cut(self, piece: Cut, coverage: Coverage) -> None:
        fingerprints = [chunk.fingerprint for chunk in piece.chunks]
        found = [usage.corpus.index.find_many(fingerprints) for usage in self.usages]
        self._members += piece.members
        at = 0
        for number, chunk in enumerate(piece.chunks):
            coverage.plain_bytes += chunk.length
            while at < len(self._members) and self._members[at].stop <= chunk.offset:
                at += 1
            usage = next((u for u, f in zip(self.usages, found, strict=True) if f[number] != ABSENT), None)
            if usage is not None:
                coverage.hit_bytes += chunk.length
                usage.hit_bytes += chunk.length
                usage.used[chunk.fingerprint] = chunk.length
            elif chunk.fingerprint in self._seen:
                coverage.repeat_bytes += chunk.length
            elif at < len(self._members) and self._has_other_version(self._members[at], chunk):
                coverage.similar_bytes += chunk.length
            self._seen.add(chunk.fingerprint)
        del self._members[:at]

    def _has_other_version(self, member: TarMember, chunk: Chunk) -> bool:
        """Whether ``chunk`` lies in ``member`` and a corpus holds a member of the same path, apart from digits."""
        if member.header > chunk.offset:
            return False
        return any(usage.corpus.paths.find(member.path_hash) for usage in self.usages)

    def to_json(self) -> dict[str, Any]:
        """Everything that was measured, as a JSON object."""
        total = Coverage("total")
        for coverage in self.coverages:
            total.plain_bytes += coverage.plain_bytes
            total.hit_bytes += coverage.hit_bytes
            total.repeat_bytes += coverage.repeat_bytes
            total.similar_bytes += coverage.similar_bytes
            if coverage.reduced_bytes is not None:
                total.reduced_bytes = (total.reduced_bytes or 0) + coverage.reduced_bytes
        document = total.to_json()
        del document["name"]
        return document | {
            "corpora": [usage.to_json() for usage in self.usages],
            "sources": [coverage.to_json() for coverage in self.coverages],
        }


def _rate(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
