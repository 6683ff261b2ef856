"""`--optimize`: measures what target data would have used, and keeps that.

Target data stand for what will be pushed. Of a source's chunks those pay that occur in the target data, those of a
member whose name occurs there (they will serve the delta stage), and those that follow a hit in the same member.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus_builder.cutting import Cut, TarMember, cut
from corpus_builder.sources import PlainSource
from reducto.kernel.chunking import ChunkParams


@dataclass(frozen=True, slots=True)
class Targets:
    """The data to measure against."""

    sources: Sequence[PlainSource]
    chunking: ChunkParams

    def measure(self) -> TargetIndex:
        """Reads the targets and remembers their chunks and member names."""
        measured = TargetIndex()
        for source in self.sources:
            for piece in cut(source, self.chunking):
                measured.target_bytes += len(piece.data)
                for chunk in piece.chunks:
                    measured.lengths[chunk.fingerprint] = measured.lengths.get(chunk.fingerprint, 0) + chunk.length
                measured.paths.update(member.path_hash for member in piece.members)
        return measured


@dataclass
class TargetIndex:
    """What targets hold, and what of it the corpus turned out to have."""

    target_bytes: int = 0
    lengths: dict[int, int] = field(default_factory=dict)
    """Bytes of the targets that each chunk covers."""
    paths: set[int] = field(default_factory=set)
    hits: set[int] = field(default_factory=set)
    dropped_bytes: int = 0

    def start_source(self) -> Selection:
        """The decision about the chunks of one source."""
        return Selection(self)

    def to_json(self) -> dict[str, Any]:
        """What was measured."""
        covered = sum(self.lengths[fingerprint] for fingerprint in self.hits)
        return {
            "target_bytes": self.target_bytes,
            "covered_bytes": covered,
            "hit_rate": round(covered / self.target_bytes, 4) if self.target_bytes else 0.0,
            "dropped_bytes": self.dropped_bytes,
        }


class Selection:
    """Goes along one source and tells which of its chunks pay."""

    def __init__(self, measured: TargetIndex) -> None:
        self._measured = measured
        self._members: deque[TarMember] = deque()
        self._member_hit = -1

    def wanted(self, piece: Cut) -> list[bool]:
        """One answer for each chunk of ``piece``; pieces come in order."""
        self._members += piece.members
        out = []
        for chunk in piece.chunks:
            while self._members and self._members[0].stop <= chunk.offset:
                self._members.popleft()
            member = self._members[0] if self._members and self._members[0].header <= chunk.offset else None
            pays = chunk.fingerprint in self._measured.lengths
            if pays:
                self._measured.hits.add(chunk.fingerprint)
            if member is not None:
                if pays:
                    self._member_hit = member.header
                pays = pays or member.path_hash in self._measured.paths or self._member_hit == member.header
            if not pays:
                self._measured.dropped_bytes += chunk.length
            out.append(pays)
        return out
