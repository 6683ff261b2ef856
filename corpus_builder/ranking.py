"""Chooses the chunks to keep when not all of them fit into a size limit.

A chunk's worth per byte estimates how likely the next image holds the chunk again. It grows with the number of places
in which the chunk was found, and halves with every 64 later sources that do not hold the chunk. It is lower for short
chunks, because their table entries take a larger share of the file: a chunk of 64 bytes has half the worth of a long
one. These constants were chosen and not measured; `--optimize` measures instead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from corpus_builder.catalogue import ChunkEntry

#: After this many later sources that do not hold a chunk, its worth is halved.
HALF_LIFE_SOURCES = 64
#: Approximate bytes of a chunk's table slot, path entry and anchor.
CHUNK_OVERHEAD_BYTES = 32
_STEPS = 1000


def worth(entry: ChunkEntry, newest_source: int) -> int:
    """The worth of one byte of the chunk, as a whole number in thousandths."""
    age = newest_source - entry.last_source
    spread = math.log2(1 + entry.places)
    size = entry.length / (entry.length + 2 * CHUNK_OVERHEAD_BYTES)
    return int(_STEPS * spread * size * 2 ** (-age / HALF_LIFE_SOURCES))


def cost_bytes(entry: ChunkEntry) -> int:
    """The bytes that the chunk adds to the corpus file."""
    return entry.length + CHUNK_OVERHEAD_BYTES


@dataclass
class BudgetPlan:
    """The decision about each chunk under a size limit.

    Chunks whose worth is above ``threshold`` are kept. Those at the threshold are kept while ``left_bytes`` suffice.
    """

    newest_source: int
    threshold: int = 0
    left_bytes: int | None = None
    """Bytes left for chunks whose worth equals the threshold; None means that every chunk is kept."""

    @classmethod
    def fit(cls, candidates: Iterable[ChunkEntry], newest_source: int, budget_bytes: int | None) -> BudgetPlan:
        """The plan that keeps the chunks of most worth in ``budget_bytes``; None means that every chunk is kept."""
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
        """Whether the chunk is kept. Call it once for each chunk, in the order in which chunks are written."""
        value = worth(entry, self.newest_source)
        if self.left_bytes is None or value > self.threshold:
            return True
        if value < self.threshold or cost_bytes(entry) > self.left_bytes:
            return False
        self.left_bytes -= cost_bytes(entry)
        return True
