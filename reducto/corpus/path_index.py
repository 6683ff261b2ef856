"""The path index: where a member of (nearly) this name begins in the plain bytes.

It is a sorted table of ``(u64 path hash, u64 plain_offset)``, little-endian. The kernel's path hash takes a run of
digits as one ``#``, because versions differ in their digits (``libssl.so.1.1`` and ``libssl.so.3``,
``foo-1.2.dist-info``). The index finds candidates for delta bases and proves nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from reducto.corpus.fingerprint_table import ENTRY
from reducto.errors import Corrupt

#: How many members of one name are kept: those with the highest offsets, because a builder writes the newest last.
ENTRIES_PER_PATH_LIMIT = 8


class PathCollector:
    """Gathers tar members in any order and makes the table of them. Takes 16 bytes of memory per member."""

    def __init__(self) -> None:
        # One bucket for each first byte of the hash. Each is sorted alone, so sorting takes 1/256 of the memory.
        self._buckets = [array("Q") for _ in range(256)]
        self.last_offset = -1

    def add(self, path_hash: int, plain_offset: int) -> None:
        """Adds a member that begins at ``plain_offset``."""
        self._buckets[path_hash >> 56].extend((path_hash, plain_offset))
        self.last_offset = max(self.last_offset, plain_offset)

    def table(self) -> Iterator[bytes]:
        """The table in pieces: sorted, without duplicates, at most `ENTRIES_PER_PATH_LIMIT` entries per hash."""
        return (_bounded(zip(bucket[::2], bucket[1::2], strict=True)) for bucket in self._buckets)


def _bounded(entries: Iterable[tuple[int, int]]) -> bytes:
    kept: list[tuple[int, int]] = []
    run = 0
    for entry in sorted(set(entries), reverse=True):
        run = run + 1 if kept and kept[-1][0] == entry[0] else 1
        if run <= ENTRIES_PER_PATH_LIMIT:
            kept.append(entry)
    return b"".join(ENTRY.pack(*entry) for entry in reversed(kept))


class PathIndex:
    """Read access to a path table in mapped memory, which is not loaded. Raises `Corrupt` for a wrong length."""

    def __init__(self, table: memoryview) -> None:
        if len(table) % ENTRY.size:
            raise Corrupt("corpus path index: wrong length")
        self.entries = table
        self._words = table.cast("Q")

    def __len__(self) -> int:
        return len(self._words) // 2

    def __iter__(self) -> Iterator[tuple[int, int]]:
        words = self._words
        return ((words[i], words[i + 1]) for i in range(0, len(words), 2))

    def find(self, path_hash: int) -> list[int]:
        """The plain offsets of members whose name has this hash, in ascending order."""
        words = self._words
        at = bisect_left(range(len(self)), path_hash, key=lambda i: words[2 * i])
        out = []
        while at < len(self) and words[2 * at] == path_hash:
            out.append(words[2 * at + 1])
            at += 1
        return out
