"""Collects (fingerprint, offset) pairs in any order and makes a table of them, in bounded memory.

Runs of pairs are sorted in memory and written to an unnamed file. Because each run is sorted, the pairs of one range of
fingerprints are one slice of it. So the slices are merged range by range, and placed in ascending order.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import IO

from reducto.corpus.fingerprint_table import ENTRY, prefix
from reducto.errors import UsageError
from reducto.kernel.index import SLOT_BYTES, TablePlacer, home_slots, sort_entries

Pairs = bytes | bytearray | memoryview | Iterable[tuple[int, int]]


class PairSpool:
    """Collects pairs. Takes at most about three times ``run_bytes`` of memory.

    Its temporary files have no name, so that they vanish with the process.
    """

    def __init__(self, directory: str | os.PathLike[str], run_bytes: int = 32 << 20) -> None:
        self._directory = directory
        self._run_bytes = run_bytes
        self._open = bytearray()
        self._runs: list[tuple[int, int]] = []
        self._file: IO[bytes] | None = None
        self.last_offset = -1

    def add(self, pairs: Pairs) -> None:
        """Adds packed little-endian ``(u64 fingerprint, u64 offset)`` pairs, or pairs of numbers."""
        if not isinstance(pairs, bytes | bytearray | memoryview):
            pairs = b"".join(ENTRY.pack(*pair) for pair in pairs)
        if len(pairs) % SLOT_BYTES:
            raise UsageError(f"{len(pairs)} bytes are not a whole number of {SLOT_BYTES}-byte pairs")
        offsets = memoryview(pairs).cast("B").cast("Q")[1::2]
        self.last_offset = max(self.last_offset, max(offsets, default=-1))
        self._open += pairs
        if len(self._open) >= self._run_bytes:
            self._end_run()

    def _end_run(self) -> None:
        count = sort_entries(self._open)
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115
        start = self._file.tell()
        self._file.write(memoryview(self._open)[: count * SLOT_BYTES])
        self._runs.append((start, start + count * SLOT_BYTES))
        self._open = bytearray()

    def table(self) -> Iterator[bytes | memoryview]:
        """The table section (`reducto.corpus.fingerprint_table`) of all pairs that were added, in pieces. Call once."""
        if self._file is None:
            count = sort_entries(self._open)
            yield from _placed([memoryview(self._open)[: count * SLOT_BYTES]], count)
            return
        self._end_run()
        self._file.flush()
        with tempfile.TemporaryFile(dir=self._directory) as merged:
            count = 0
            for part in self._merged(self._file):
                merged.write(part)
                count += len(part) // SLOT_BYTES
            merged.seek(0)
            yield from _placed(iter(lambda: merged.read(self._run_bytes), b""), count)

    def _merged(self, file: IO[bytes]) -> Iterator[memoryview]:
        """The sorted distinct pairs, one range of fingerprints after the other."""
        total = self._runs[-1][1]
        ranges = -(-total // self._run_bytes)
        with mmap.mmap(file.fileno(), total, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            words = view.cast("Q")
            runs = [(start // SLOT_BYTES, stop // SLOT_BYTES) for start, stop in self._runs]
            lows = [start for start, _ in runs]
            for part in range(1, ranges + 1):
                bound = (part << 64) // ranges
                highs = [
                    bisect_left(range(stop), bound, lo=low, key=lambda i: words[2 * i])
                    for low, (_, stop) in zip(lows, runs, strict=True)
                ]
                slices = (slice(a * SLOT_BYTES, b * SLOT_BYTES) for a, b in zip(lows, highs, strict=True))
                pairs = bytearray().join(view[s] for s in slices)
                yield memoryview(pairs)[: sort_entries(pairs) * SLOT_BYTES]
                lows = highs
            words.release()

    def close(self) -> None:
        """Drops all pairs and files. Idempotent."""
        self._open = bytearray()
        if self._file is not None:
            self._file.close()


def _placed(sorted_parts: Iterable[bytes | memoryview], count: int) -> Iterator[bytes | memoryview]:
    placer = TablePlacer(home_slots(count))
    yield prefix(count)
    for part in sorted_parts:
        yield placer.place(part)
    yield placer.finish()
