"""gzip layers rebuilt bit for bit: every encoder for which there is an oracle, over three real tars.

A complete run takes hours on two cores, so it can be made in parts: ``REDUCTO_BENCH_GZIP_SECONDS`` ends the measuring
after that time, and the next run continues there. The report says how much is measured. Further variables:
``REDUCTO_BENCH_GZIP`` limits the encoders (a regular expression on ``encoder-version-level``),
``REDUCTO_BENCH_GZIP_STEP`` the steps (``exact``, ``speed``, ``report``), ``REDUCTO_BENCH_GZIP_MB`` the megabytes of
each tar, ``REDUCTO_BENCH_GZIP_WORKERS`` the processes that check exactness.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice

from reducto.gzip import GzipRecipe
from reducto.kernel.gzip import TokenReader
from tests.bench.data.cache import data_root
from tests.bench.gzip_outcomes import Outcome, Outcomes, gzip_6_seconds, measure, plan, tars, time_rebuild
from tests.bench.report import Report, benchmark
from tests.gzip.helpers import PlainBytes
from tests.gzip.oracles import Oracle, all_oracles

MEGABYTES = int(os.environ.get("REDUCTO_BENCH_GZIP_MB", "50"))
WANTED = re.compile(os.environ.get("REDUCTO_BENCH_GZIP", ""))
STEP = os.environ.get("REDUCTO_BENCH_GZIP_STEP", "exact speed report")
SECONDS = float(os.environ.get("REDUCTO_BENCH_GZIP_SECONDS", "inf"))
WORKERS = int(os.environ.get("REDUCTO_BENCH_GZIP_WORKERS", str(os.cpu_count() or 1)))
COLUMNS = ["encoder", "model", "exact", "corrections", "recipe bytes", "% of gzip", "rebuild / gzip -6"]
#: The promised speeds as (pattern of the encoder model, multiple of `gzip -6`). The first pattern that matches counts.
REBUILD_BARS = (
    (re.compile(r"level-1$|level-0$"), 4.0),
    (re.compile(r"level-9$"), 0.25),
    (re.compile(r"^(zlib|gnu-gzip)-level-6$"), 0.9),
    (re.compile(r"^go-1\.19-level-6$"), 1.4),
    (re.compile(r"^(pgzip|klauspost)-\S*level-(5|6)$|^go-1\.27-level-6$"), 3.0),
)
RECIPE_BARS = ((re.compile(r"pigz|level-1$"), 0.2), (re.compile(""), 0.05))
#: The encoders that are timed: the newest or Debian's release of each, at the levels with a promised speed.
TIMED = re.compile(
    r"^(go-1\.2[67]-level[169]|(klauspost|pgzip)-1\.15\.12-level[1569]|(zlib|gnu-gzip|pigz|node)-[\d.]+-level[169]"
    r"|pigz-[\d.]+-(independent|single)-level1)$"
)


def oracles() -> list[Oracle]:
    """The chosen oracles that are installed: first the levels that layers are made with, last unusual settings."""
    found = [oracle for oracle in all_oracles() if WANTED.search(oracle.name) and oracle.find() is not None]
    common = re.compile(r"-level[1569]$")
    unusual = re.compile(r"window|fixed|filtered|rle|huffman|rsyncable|independent|single")
    return sorted(found, key=lambda oracle: (bool(unusual.search(oracle.name)), not common.search(oracle.name)))


def store() -> Outcomes:
    """The folder in which outcomes are kept."""
    return Outcomes(data_root() / "gzip-outcomes", MEGABYTES)


_plain: dict[str, bytes] = {}


def check(tar: str, name: str) -> None:
    """Measures one encoder on one tar, in a process of its own."""
    if not _plain:
        _plain.update(tars(MEGABYTES))
    oracle = next(oracle for oracle in all_oracles() if oracle.name == name)
    plain = _plain[tar]
    wire = oracle.encode(plain)
    found = store().same_bytes(tar, wire, lambda: measure(oracle, plain, wire))
    store().put(tar, replace(found, encoder=name))


def check_all(pairs: Sequence[tuple[str, Oracle]], end: float) -> None:
    """Measures those of ``pairs`` that have no outcome yet, until the time ``end``."""
    missing = [(tar, oracle.name) for tar, oracle in pairs if store().get(tar, oracle) is None]

    def until_the_end() -> Iterator[tuple[str, str]]:
        for pair in missing:
            if time.monotonic() > end:
                return
            yield pair

    with ProcessPoolExecutor(WORKERS) as pool:
        left = until_the_end()
        flying = {pool.submit(check, *pair) for pair in islice(left, WORKERS)}
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            flying |= {pool.submit(check, *pair) for pair in islice(left, len(done))}


def time_all(pairs: Sequence[tuple[str, Oracle]], plain: dict[str, bytes], end: float) -> None:
    """Measures the speeds that are missing, one after the other, until the time ``end``."""
    for tar, oracle in pairs:
        found = store().get(tar, oracle)
        if (
            found is None
            or found.rebuild is not None
            or found.model.startswith("stored")
            or not TIMED.match(oracle.name)
        ):
            continue
        if time.monotonic() > end:
            return
        time_rebuild(found, plain[tar])
        store().put(tar, found)


def two_thread_gain(plain: bytes, wire: bytes) -> float:
    """The speed-up of a rebuild by a second worker: best of five wall times each, measured alternately."""
    recipe = plan(wire)
    assert isinstance(recipe, GzipRecipe)
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(5):
        for workers in best:
            with ThreadPoolExecutor(workers) as pool:
                start = time.perf_counter()
                for _ in recipe.rebuild(PlainBytes(plain), submit=pool.submit):
                    pass
                best[workers] = min(best[workers], time.perf_counter() - start)
    return best[1] / best[2]


def inflate_ratio(plain: bytes, wire: bytes) -> float:
    """The speed of inflating with tokens, as a multiple of the speed of `gzip -6`; best of three."""
    seconds, reader = [], TokenReader()
    for _ in range(3):
        start = time.thread_time()
        plain_length, _ = reader.count(wire, 10)
        seconds.append(time.thread_time() - start)
        assert plain_length == len(plain)
    return min(gzip_6_seconds(plain) for _ in range(3)) / min(seconds)


def reference_oracle() -> Oracle | None:
    """Go at its default level, with which docker compresses layers; None where no such Go is installed."""
    return next((each for each in all_oracles() if each.model == "go-1.19-level-6" and each.find()), None)


def time_figures(plain: dict[str, bytes], end: float) -> None:
    """Measures `two_thread_gain` and `inflate_ratio` on each tar, compressed by Go's default level."""
    reference = reference_oracle()
    for tar, data in plain.items():
        if reference is None or store().figures(tar) or time.monotonic() > end:
            continue
        wire = reference.encode(data)
        figures = {"inflate": inflate_ratio(data, wire), "two threads": two_thread_gain(data, wire)}
        store().put_figures(tar, figures)


def first_bar(bars: tuple[tuple[re.Pattern[str], float], ...], model: str) -> float | None:
    """The limit of the first pattern that matches; None without a match."""
    return next((limit for pattern, limit in bars if pattern.search(model)), None)


@benchmark("gzip", "gzip layers rebuilt bit for bit, per encoder, version and level")
def gzip_models(report: Report) -> None:
    """Three tars of 50 MB, compressed by every gzip encoder, version and level that can be had, and rebuilt."""
    end = time.monotonic() + SECONDS
    plain = tars(MEGABYTES)
    pairs = [(tar, oracle) for oracle in oracles() for tar in plain]
    if "exact" in STEP:
        check_all(pairs, end)
    if "speed" in STEP:
        time_figures(plain, end)
        time_all(pairs, plain, end)
    if "report" not in STEP:
        measured = sum(store().get(*pair) is not None for pair in pairs)
        print(f"{measured} of {len(pairs)} measured")
        sys.exit(0)  # because the last step writes the report
    chosen = {oracle.name for _, oracle in pairs}
    tell(report, plain, [oracle for oracle in all_oracles() if oracle.name in chosen])


def tell(report: Report, plain: dict[str, bytes], chosen: Sequence[Oracle]) -> None:
    """Reports tables and promises of what has been measured so far."""
    found = {(tar, oracle.name): store().get(tar, oracle) for tar in plain for oracle in chosen}
    for tar, data in plain.items():
        known = [outcome for oracle in chosen if (outcome := found[tar, oracle.name])]
        report.table(f"{tar}, {len(data) / 1e6:.0f} MB", COLUMNS, [row(outcome) for outcome in known])
    all_found = [outcome for outcome in found.values() if outcome]
    report.at_least("encoders, versions and levels on three tars, measured", len(all_found), len(found), "")
    report.at_most("files not rebuilt exactly", sum(not outcome.exact for outcome in all_found), 0, "files")
    stored = sum(outcome.model.startswith("stored") for outcome in all_found)
    report.at_most("files without a recipe", stored, 0, "files")
    tell_figures(report, plain)
    for oracle in chosen:
        mine = [outcome for tar in plain if (outcome := found[tar, oracle.name])]
        if not mine:
            continue
        limit = first_bar(RECIPE_BARS, oracle.model) or 1
        report.at_most(f"recipe of {oracle.name}", max(outcome.percent for outcome in mine), limit, "%")
        speeds = [outcome.rebuild for outcome in mine if outcome.rebuild is not None]
        promised = first_bar(REBUILD_BARS, oracle.model)
        if speeds and promised is not None:
            report.at_least(f"rebuild of {oracle.name}", min(speeds), promised)


def row(outcome: Outcome) -> list[str | int | float | None]:
    """The outcome's row in the table."""
    size = [outcome.corrections, outcome.recipe_bytes, outcome.percent]
    return [outcome.encoder, outcome.model, "yes" if outcome.exact else "NO", *size, outcome.rebuild]


def tell_figures(report: Report, plain: dict[str, bytes]) -> None:
    """Reports the speeds of inflating and of two workers, where they were measured."""
    for tar in plain:
        figures = store().figures(tar)
        if figures:
            report.at_least(f"inflate with tokens, {tar}", figures["inflate"], 12)
            report.at_least(f"rebuild on two threads, {tar}", figures["two threads"], 1.8)
