"""Measures how much of a large layer is rebuilt, and how long it takes, before a range from its middle begins."""

from __future__ import annotations

import statistics
import time

from reducto.gzip import GzipRecipe
from reducto.values import ByteRange
from tests.bench.data import dataset
from tests.bench.gzip_outcomes import plan
from tests.bench.report import Cell, Report, benchmark
from tests.gzip.helpers import PlainBytes
from tests.gzip.oracles import Oracle, all_oracles

RANGE_BYTES = 8 << 20
WIRE_BYTES = 100_000_000
ENCODERS = ("go-1.26-level6", "go-1.26-level1", "go-1.27-level6", "pgzip-1.15.12-level5")
COLUMNS = [
    "encoder",
    "wire MB",
    "plain KiB rebuilt before the first byte",
    "segment and warm-up KiB",
    "ms to the first byte",
    "ms to all 8 MiB",
]


@benchmark("gzip-range", "A range of 8 MiB from the middle of a layer of 100 MB")
def gzip_range(report: Report) -> None:
    """8 MiB asked for in the middle of a layer of 100 MB by one of the usual encoders, on one thread."""
    plain = (dataset("apt-layers").path / "new.tar").read_bytes()
    rows = [measure(oracle, plain) for oracle in all_oracles() if oracle.name in ENCODERS and oracle.find()]
    report.table("Median of five", COLUMNS, rows)
    for row in rows:
        rebuilt, bound = row[2], row[3]
        assert isinstance(rebuilt, float)
        assert isinstance(bound, float)
        report.at_most(f"{row[0]}: plain bytes rebuilt before the first byte", rebuilt, bound, "KiB")


def measure(oracle: Oracle, plain: bytes) -> list[Cell]:
    """Measures one encoder. The layer is the beginning of ``plain`` that it compresses to 100 MB."""
    part = plain[: 40 << 20]
    plain = plain[: int(WIRE_BYTES * len(part) / len(oracle.encode(part)))]
    wire = oracle.encode(plain)
    recipe = plan(wire)
    assert isinstance(recipe, GzipRecipe)
    middle = len(wire) // 2
    firsts, alls, read = [], [], 0
    for _ in range(5):
        source = PlainBytes(plain)
        start = time.perf_counter()
        pieces = recipe.rebuild(source, ByteRange(middle, middle + RANGE_BYTES))
        out = [next(iter(pieces))]
        firsts.append(time.perf_counter() - start)
        read = source.read_bytes
        out += pieces
        alls.append(time.perf_counter() - start)
        assert b"".join(out) == wire[middle : middle + RANGE_BYTES]
    model = recipe.choices[0].model
    longest = max(segment.plain_length for member in recipe.members for segment in member.segments)
    bound = longest + model.warmup_bytes + model.lookahead_bytes
    milliseconds = [1000 * statistics.median(firsts), 1000 * statistics.median(alls)]
    return [oracle.name, len(wire) / 1e6, read / 1024, bound / 1024, *milliseconds]
