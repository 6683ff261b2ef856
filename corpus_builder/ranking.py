"""Which chunks are worth their place when not all fit.

A chunk's worth per byte is the chance that the next image brings it again. It grows with the number of places that
it was found in, shrinks with the number of sources that came since without it, and is a little less for short chunks,
whose table entries weigh more. The constants are a judgement, not a measurement; `--optimize` measures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from corpus_builder.catalogue import ChunkEntry

#: After so many sources without it a chunk is worth half.
HALF_LIFE_SOURCES = 64
#: Table slot, path entry and anchor of a chunk, about.
CHUNK_OVERHEAD_BYTES = 32
_STEPS = 1000


def worth(entry: ChunkEntry, newest_source: int) -> int:
    """A whole number that is higher for chunks more worth keeping, per byte."""
    age = newest_source - entry.last_source
    spread = math.log2(1 + entry.places)
    size = entry.length / (entry.length + 2 * CHUNK_OVERHEAD_BYTES)
    return int(_STEPS * spread * size * 2 ** (-age / HALF_LIFE_SOURCES))


def cost_bytes(entry: ChunkEntry) -> int:
    """What keeping the chunk adds to the file."""
    return entry.length + CHUNK_OVERHEAD_BYTES


@dataclass
class BudgetPlan:
    """The decision about each chunk: all above a worth are kept, those at it while there is room."""

    newest_source: int
    threshold: int = 0
    room_bytes: int | None = None
    """Left for chunks exactly at the threshold; None: no limit."""

    @classmethod
    def fit(cls, candidates: Iterable[ChunkEntry], newest_source: int, budget_bytes: int | None) -> BudgetPlan:
        """The plan that keeps the best of ``candidates`` in ``budget_bytes`` (None: everything)."""
        if budget_bytes is None:
            return cls(newest_source)
        costs: Counter[int] = Counter()
        for entry in candidates:
            costs[worth(entry, newest_source)] += cost_bytes(entry)
        left = max(budget_bytes, 0)
        for step in sorted(costs, reverse=True):
            if costs[step] > left:
                return cls(newest_source, step, left)
            left -= costs[step]
        return cls(newest_source, 0, left)

    def keeps(self, entry: ChunkEntry) -> bool:
        """Decides about one chunk, in the order in which they would be written; ask once for each."""
        value = worth(entry, self.newest_source)
        if self.room_bytes is None or value > self.threshold:
            return True
        if value < self.threshold or cost_bytes(entry) > self.room_bytes:
            return False
        self.room_bytes -= cost_bytes(entry)
        return True
