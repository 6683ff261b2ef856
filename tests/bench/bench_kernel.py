"""The speed of the chunker on one core, compared with pyfastcdc, which makes one scale and no fingerprints."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from pyfastcdc import FastCDC

from reducto.kernel.chunking import PIECE_BYTES, Chunker
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark

_SAMPLE_BYTES = 256 << 20
_ROUNDS = 9


@benchmark("kernel", "Chunking on one core")
def kernel(report: Report) -> None:
    """256 MiB of a Python application's layer cut into chunks on one core, in turns with pyfastcdc."""
    layers = dataset("image-series").ensure() / "layers"
    with (layers / "app.tar").open("rb") as file:
        data = memoryview(file.read(_SAMPLE_BYTES))
    chunker, peer = Chunker(), FastCDC(8192)
    ours: list[float] = []
    theirs: list[float] = []
    counts = {}
    for _ in range(_ROUNDS):
        for name, times, work in (
            ("reducto", ours, lambda: _chunk(chunker, data)),
            ("pyfastcdc", theirs, lambda: sum(1 for _ in peer.cut_buf(data))),
        ):
            seconds, counts[name] = _processor_seconds(work)
            times.append(seconds)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    rows = [
        [name, len(data) / 1e6 / min(times), len(data) / counts[name]]
        for name, times in (("reducto", ours), ("pyfastcdc", theirs))
    ]
    report.table(
        "A Python application layer, 8 KiB average",
        ["chunker", "MB/s", "mean bytes a chunk"],
        rows,
        "reducto: two scales, anchors at line starts and a 64-bit fingerprint of every chunk; pyfastcdc: chunks alone",
    )
    report.at_least("speed as a ratio to pyfastcdc, median of pairs", statistics.median(ratios), 1.0)


def _chunk(chunker: Chunker, data: memoryview) -> int:
    count = at = 0
    while at < len(data):
        table = chunker.scan(data[at : at + PIECE_BYTES], final=at + PIECE_BYTES >= len(data))
        count += len(table)
        at += table.consumed
    return count


def _processor_seconds(work: Callable[[], int]) -> tuple[float, int]:
    started = time.process_time()
    count = work()
    return time.process_time() - started, count
