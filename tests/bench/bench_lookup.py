"""The time of look-ups in the mapped index of a corpus of 100 GB (13 million chunks), warm and cold."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from reducto.corpus.corpus_format import HASH_BYTES, HASHED_SECTIONS, CorpusManifest, segment_count
from reducto.corpus.writer import CorpusWriter
from tests.bench.report import Report, benchmark

ENTRIES = 13_000_000
LOOKUPS = 20_000
_HUNDRED_GB = 100_000_000_000
_PLAIN_BYTES = 64 << 20
_BATCH = 1 << 20


def write_corpus(path: Path, entries: int) -> array[int]:
    """Writes a corpus of random fingerprints and few plain bytes, which no look-up reads; returns some fingerprints."""
    rng = random.Random(2024)
    known: array[int] = array("Q")
    with CorpusWriter(path) as writer:
        for _ in range(_PLAIN_BYTES >> 20):
            writer.append(bytes(1 << 20))
        for at in range(0, entries, _BATCH):
            count = min(_BATCH, entries - at)
            pairs = array("Q", bytes(16 * count))
            fingerprints = array("Q", rng.randbytes(8 * count))
            pairs[0::2] = fingerprints
            pairs[1::2] = array("Q", (offset % _PLAIN_BYTES for offset in range(at, at + count)))
            writer.note_chunks(memoryview(pairs).cast("B"))
            known.extend(fingerprints[: LOOKUPS * count // (2 * entries) + 1])
        writer.finish()
    return known


def probe(corpus: Path, keys: Path, state: str) -> dict[str, Any]:
    """The measurement of `lookup_probe`, which runs in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.lookup_probe", str(corpus), str(keys), state]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(ran.stdout))


def manifest_seconds() -> float:
    """Seconds to read and check the manifest of 100 GB of plain bytes, which the file here lacks."""
    hashes = random.Random(1).randbytes(segment_count(_HUNDRED_GB) * HASH_BYTES)
    data = CorpusManifest(_HUNDRED_GB, bytes(32), (bytes(32),) * len(HASHED_SECTIONS), hashes).to_bytes()
    start = time.perf_counter()
    CorpusManifest.parse(data, _HUNDRED_GB)
    return time.perf_counter() - start


@benchmark("lookup", "Look-up in an index of 13 million chunks")
def measure(report: Report) -> None:
    """20,000 look-ups in the mapped index of a corpus of 100 GB, with its file in the page cache and without."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="reducto-lookup-") as directory:
        corpus, keys_path = Path(directory) / "corpus.rc", Path(directory) / "keys"
        start = time.perf_counter()
        known = write_corpus(corpus, ENTRIES)
        writing = time.perf_counter() - start
        keys = list(known[: LOOKUPS // 2]) + list(array("Q", random.Random(7).randbytes(8 * (LOOKUPS // 2))))
        random.Random(3).shuffle(keys)
        keys_path.write_bytes(array("Q", keys).tobytes())
        results = {state: probe(corpus, keys_path, state) for state in ("warm", "cold")}
        file_mib = corpus.stat().st_size / (1 << 20)
    for result in results.values():
        assert (result["found"], result["entries"]) == (LOOKUPS // 2, ENTRIES)
    columns = ["state", "open s", "p50 us", "p99 us", "max us", "disk reads", "peak MiB"]
    rows = [
        [state, r["open_seconds"], r["p50_us"], r["p99_us"], r["max_us"], r["disk_reads"], r["peak_mib"]]
        for state, r in results.items()
    ]
    extra = manifest_seconds()
    report.table(
        f"{LOOKUPS} single look-ups from Python, half of them absent; {ENTRIES} entries, file of {file_mib:.0f} MiB",
        columns,
        rows,
        f"Every byte of the index is verified when it is opened. The manifest of 100 GB of plain bytes would add "
        f"{extra * 1000:.1f} ms. Before the cold look-ups {results['cold']['cached_share_before']:.1%} of the file was "
        f"in the page cache; a bare uncached read of one page took {results['cold']['disk_p50_us']:.0f} us (p50) and "
        f"{results['cold']['disk_p99_us']:.0f} us (p99) on this disk at that time. Writing the corpus "
        f"took {writing:.1f} s.",
    )
    report.at_most("opening, warm", results["warm"]["open_seconds"] + extra, 1.0, "s")
    report.at_most("opening, cold", results["cold"]["open_seconds"] + extra, 1.0, "s")
    report.at_most("look-up p99, warm", results["warm"]["p99_us"], 50.0, "us")
    report.at_most("look-up p99, cold", results["cold"]["p99_us"], 500.0, "us")
    report.at_most("resident", max(r["peak_mib"] for r in results.values()), 2048.0, "MiB")
