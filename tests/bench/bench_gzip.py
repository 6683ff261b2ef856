"""gzip layers rebuilt bit for bit: every encoder that there is an oracle for, over three real tars.

``REDUCTO_BENCH_GZIP`` limits the encoders (a regular expression on ``encoder-version-level``),
``REDUCTO_BENCH_GZIP_MB`` the megabytes taken from each tar. Times are the processor's, of the measuring
thread; `gzip -6` is timed on the same bytes.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from reducto.gzip import GzipRecipe, open_unframer
from reducto.kernel.gzip import TokenReader
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark
from tests.gzip.helpers import PlainBytes
from tests.gzip.oracles import Oracle, all_oracles

MEGABYTES = int(os.environ.get("REDUCTO_BENCH_GZIP_MB", "60"))
WANTED = re.compile(os.environ.get("REDUCTO_BENCH_GZIP", ""))
COLUMNS = [
    "encoder",
    "model",
    "exact",
    "corrections",
    "recipe bytes",
    "% of gzip",
    "rebuild / gzip -6",
    "plan / gzip -6",
]
#: What was promised: (pattern on the model, times `gzip -6`), first match counts.
REBUILD_BARS = (
    (re.compile(r"level-(fastest|1)$|level-0|stored"), 4.0),
    (re.compile(r"level-9$"), 0.25),
    (re.compile(r"^(zlib|gnu-gzip|java).*level-6$"), 0.9),
    (re.compile(r"^go-1\.19-level-6$"), 1.4),
    (re.compile(r"^(pgzip|klauspost|go-1\.27)\S*(level-(5|6)|default)$"), 3.0),
)
RECIPE_BARS = ((re.compile(r"pigz|level-1$"), 0.2), (re.compile(""), 0.05))


@dataclass
class Outcome:
    """One encoder on one tar."""

    oracle: Oracle
    model: str
    exact: bool
    corrections: int
    recipe_bytes: int
    wire_bytes: int
    rebuild: float
    plan: float

    @property
    def percent(self) -> float:
        """Recipe in percent of the gzip file."""
        return 100 * self.recipe_bytes / self.wire_bytes


def tars() -> dict[str, bytes]:
    """A Debian root, a Python application, a Node application: the first megabytes of each."""
    series = sorted((dataset("image-series").path / "layers").iterdir(), key=lambda path: path.stat().st_size)
    paths = {
        "Debian root": dataset("python-base").path / "base.tar",
        "Python application": series[len(series) // 2],
        "Node application": dataset("node-layers").path / "new.tar",
    }
    found = {}
    for name, path in paths.items():
        with path.open("rb") as file:
            found[name] = file.read(MEGABYTES * 1_000_000)
    return found


def gzip_6_seconds(plain: bytes) -> float:
    """Processor seconds of the real `gzip -6`, best of two."""
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["gzip", "-6"], input=plain, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime)
    return min(seconds)


def measure(oracle: Oracle, plain: bytes, wire: bytes, gzip_seconds: float) -> Outcome:
    """Plans and rebuilds once each, on this thread."""
    unframer = open_unframer(wire[:16])
    start = time.thread_time()
    for at in range(0, len(wire), 1 << 20):
        unframer.feed(wire[at : at + (1 << 20)], lambda piece: None)
    recipe = unframer.finish()
    planned = time.thread_time() - start
    if not isinstance(recipe, GzipRecipe):
        return Outcome(oracle, str(recipe), True, 0, 0, len(wire), 0.0, gzip_seconds / planned)
    start = time.thread_time()
    rebuilt = b"".join(recipe.rebuild(PlainBytes(plain)))
    spent = time.thread_time() - start
    return Outcome(
        oracle, recipe.encoder, rebuilt == wire, recipe.corrections or 0, len(recipe.to_bytes()), len(wire),
        gzip_seconds / spent, gzip_seconds / planned,
    )  # fmt: skip


def two_thread_gain(plain: bytes, wire: bytes) -> float:
    """Wall time of a rebuild on one worker over that on two, best of three each."""
    unframer = open_unframer(wire[:16])
    unframer.feed(wire, lambda piece: None)
    recipe = unframer.finish()
    assert isinstance(recipe, GzipRecipe)
    best = []
    for workers in (1, 2):
        with ThreadPoolExecutor(workers) as pool:
            times = []
            for _ in range(3):
                start = time.perf_counter()
                for _ in recipe.rebuild(PlainBytes(plain), submit=pool.submit):
                    pass
                times.append(time.perf_counter() - start)
        best.append(min(times))
    return best[0] / best[1]


def inflate_ratio(plain: bytes, wire: bytes, gzip_seconds: float) -> float:
    """Inflate with tokens, as a multiple of `gzip -6`; best of three."""
    seconds = []
    reader = TokenReader()
    for _ in range(3):
        start = time.thread_time()
        plain_length, _ = reader.count(wire, 10)
        seconds.append(time.thread_time() - start)
        assert plain_length == len(plain)
    return gzip_seconds / min(seconds)


def first_bar(bars: tuple[tuple[re.Pattern[str], float], ...], model: str) -> float | None:
    """The limit of the first pattern that fits."""
    return next((limit for pattern, limit in bars if pattern.search(model)), None)


@benchmark("gzip", "gzip layers rebuilt bit for bit, per encoder, version and level")
def gzip_models(report: Report) -> None:
    """Every oracle on every tar."""
    chosen = [oracle for oracle in all_oracles() if WANTED.search(oracle.name) and oracle.find() is not None]
    outcomes: list[Outcome] = []
    for name, plain in tars().items():
        gzip_seconds = gzip_6_seconds(plain)
        rows: list[list[str | int | float | None]] = []
        for oracle in chosen:
            found = measure(oracle, plain, oracle.encode(plain), gzip_seconds)
            outcomes.append(found)
            exact = "yes" if found.exact else "NO"
            size = [found.corrections, found.recipe_bytes, found.percent]
            rows.append([oracle.name, found.model, exact, *size, found.rebuild, found.plan])
        speed = len(plain) / gzip_seconds / 1e6
        report.table(f"{name}, {len(plain) / 1e6:.0f} MB; gzip -6 {speed:.1f} MB/s", COLUMNS, rows)
        reference = next((oracle for oracle in chosen if oracle.model == "go-1.19-level-6"), None)
        if reference is not None:
            wire = reference.encode(plain)
            report.at_least(f"inflate with tokens, {name}", inflate_ratio(plain, wire, gzip_seconds), 12)
            report.at_least(f"rebuild on two threads, {name}", two_thread_gain(plain, wire), 1.8)
    report.at_most("files not rebuilt exactly", sum(not found.exact for found in outcomes), 0, "files")
    for oracle in chosen:
        mine = [found for found in outcomes if found.oracle is oracle]
        report.at_most(
            f"recipe of {oracle.name}",
            max(found.percent for found in mine),
            first_bar(RECIPE_BARS, oracle.model) or 1,
            "%",
        )
        limit = first_bar(REBUILD_BARS, oracle.model)
        if limit is not None:
            report.at_least(f"rebuild of {oracle.name}", min(found.rebuild for found in mine), limit)
