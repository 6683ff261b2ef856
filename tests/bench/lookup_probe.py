"""Opens a corpus, looks fingerprints up one by one, and prints the times. `bench_lookup` runs it in a new process.

``python -m tests.bench.lookup_probe CORPUS FINGERPRINTS cold|warm`` where FINGERPRINTS is a file of u64, half of which
are in the corpus.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import resource
import sys
import time
from array import array
from pathlib import Path

from reducto.corpus.fingerprint_table import FingerprintTable
from reducto.corpus.reader import Corpus
from reducto.kernel._lib import ffi


def evict(path: Path, mapping: mmap.mmap | None = None) -> None:
    """Removes the file from the page cache. Its mapping is emptied first, because the kernel keeps mapped pages."""
    if mapping is not None:
        mapping.madvise(mmap.MADV_DONTNEED)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def resident_share(mapping: mmap.mmap) -> float:
    """The share of a mapping that is in the page cache, by mincore(2)."""
    pages = -(-len(mapping) // mmap.PAGESIZE)
    vector = (ctypes.c_ubyte * pages)()
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(memoryview(mapping))))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapping)), vector):
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in vector) / pages


def find_all(table: FingerprintTable, keys: array[int]) -> tuple[list[int], int]:
    """The nanoseconds of each look-up, and the number of fingerprints that were found."""
    clock = time.perf_counter_ns
    took, found = [], 0
    for key in keys:
        start = clock()
        offset = table.find(key)
        took.append(clock() - start)
        found += offset is not None
    return took, found


def disk_reads(path: Path, count: int) -> list[int]:
    """The nanoseconds of uncached reads of one page each, which a cold look-up cannot be faster than."""
    pages = random.Random(5).sample(range(path.stat().st_size // mmap.PAGESIZE), count)
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    clock = time.perf_counter_ns
    took = []
    for page in pages:
        start = clock()
        os.pread(descriptor, mmap.PAGESIZE, page * mmap.PAGESIZE)
        took.append(clock() - start)
    os.close(descriptor)
    return took


def main() -> None:
    path, keys_path, state = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    keys = array("Q", keys_path.read_bytes())
    if state == "cold":
        evict(path)
    start = time.perf_counter()
    corpus = Corpus.open(path, allow_unsigned=True)
    opened = time.perf_counter() - start
    share = 1.0
    if state == "cold":
        evict(path, corpus._mapping)
        share = resident_share(corpus._mapping)
    else:
        find_all(corpus.index, keys)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    took, found = find_all(corpus.index, keys)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    took.sort()
    alone = []
    if state == "cold":
        evict(path, corpus._mapping)
        alone = sorted(disk_reads(path, 5000))
    result = {
        "entries": len(corpus.index),
        "open_seconds": opened,
        "found": found,
        "lookups": len(took),
        "p50_us": took[len(took) // 2] / 1000,
        "p99_us": took[len(took) * 99 // 100] / 1000,
        "max_us": took[-1] / 1000,
        "disk_reads": usage.ru_majflt - faults,
        "cached_share_before": share,
        "peak_mib": usage.ru_maxrss / 1024,
        "disk_p50_us": alone[len(alone) // 2] / 1000 if alone else None,
        "disk_p99_us": alone[len(alone) * 99 // 100] / 1000 if alone else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
