"""`corpus build --optimize`: keeps only the chunks that target data would use.

Target data are an example of what will be pushed. A chunk of a source is kept if it occurs in the target data, if its
tar member has a path that occurs there (the delta stage will use the member as delta base), or if it follows a chunk
of the same member that occurs there.
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
    """The target data, and how they are cut into chunks."""

    sources: Sequence[PlainSource]
    chunking: ChunkParams

    def measure(self) -> TargetIndex:
        """Reads all target data, and returns an index of their chunks and member paths."""
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
    """The chunks and member paths of the target data, and how much of them the sources turned out to hold."""

    target_bytes: int = 0
    lengths: dict[int, int] = field(default_factory=dict)
    """For each fingerprint the bytes of the target data that such chunks cover."""
    paths: set[int] = field(default_factory=set)
    """Hashes of the paths of the target data's tar members."""
    hits: set[int] = field(default_factory=set)
    """Fingerprints that occurred in a source."""
    dropped_bytes: int = 0
    """Bytes of source chunks that the target data would not use."""

    def start_source(self) -> Selection:
        """A `Selection` for the chunks of one source."""
        return Selection(self)

    def to_json(self) -> dict[str, Any]:
        """The measurement as a JSON object."""
        covered = sum(self.lengths[fingerprint] for fingerprint in self.hits)
        return {
            "target_bytes": self.target_bytes,
            "covered_bytes": covered,
            "hit_rate": round(covered / self.target_bytes, 4) if self.target_bytes else 0.0,
            "dropped_bytes": self.dropped_bytes,
        }


class Selection:
    """Decides, along the chunks of one source in order, which of them the target data would use."""

    def __init__(self, measured: TargetIndex) -> None:
        self._measured = measured
        self._members: deque[TarMember] = deque()
        self._member_hit = -1

    def wanted(self, piece: Cut) -> list[bool]:
        """For each chunk of ``piece`` whether it is kept. Cuts must come in order."""
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
