"""Speed and memory of ``reducto compress`` and ``decompress`` on a disk image, compared with ``cp`` and ``zstd -1``."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.codec_runs import REDUCTO, Run, best, corpus_of, run, scratch
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark

_ROUNDS = 3
_MIB = 1 << 20
#: The promised speed of each command in MB/s.
OURS = {"compress": 500, "decompress": 1200}


@benchmark("files", "A 2 GiB disk image against its previous version")
def files(report: Report) -> None:
    """`reducto compress` and `decompress` of a disk image of 2 GiB, given a corpus of its previous version."""
    images = dataset("disk-images").ensure()
    with scratch() as folder:
        corpus = corpus_of(images / "old.img", folder / "old.rc")
        length = (images / "new.img").stat().st_size
        runs = [_all(images / "new.img", corpus, folder, watch_memory=False) for _ in range(_ROUNDS)]
        fastest = {name: best([each[name] for each in runs]) for name in runs[0]}
        watched = _all(images / "new.img", corpus, folder, watch_memory=True)
        stored = (folder / "out.reducto").stat().st_size
        rows = [
            [name, each.seconds, length / 1e6 / each.seconds, watched[name].peak_bytes / _MIB]
            for name, each in fastest.items()
        ]
        report.table(
            f"2 GiB, best of {_ROUNDS}", ["command", "seconds", "MB/s", "peak MiB beyond corpora"], rows,
            f"stored in {stored / 1e6:.1f} MB; each run starts with its inputs in the page cache; "
            "memory was measured in a separate run",
        )  # fmt: skip
        for name, least in OURS.items():
            each = fastest[name]
            report.at_least(f"{name}, MB/s", length / 1e6 / each.seconds, least, "MB/s")
            report.at_most(f"{name}, peak memory beyond corpora", watched[name].peak_bytes / _MIB, 512, "MiB")
        peers = ("cp", "zstd -1 -T2")
        times = [[name, *(fastest[name].seconds / fastest[peer].seconds for peer in peers)] for name in OURS]
        report.table("Time as a ratio to a peer in the same run", ["command", *peers], times)
        _memory(report, images, corpus, folder)


def _same_start(*inputs: Path) -> None:
    """Gives every run the same start: no unwritten pages, and nothing but its inputs in the page cache."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    for path in inputs:
        run("cat", path)


def _all(image: Path, corpus: Path, folder: Path, *, watch_memory: bool) -> dict[str, Run]:
    def from_same_start(*command: str | Path) -> Run:
        _same_start(image, corpus)
        return run(*command, watch_memory=watch_memory)

    options = ["--corpus", corpus, "--allow-unsigned", "--quiet"]
    out, back, copy, zstd = (folder / name for name in ("out.reducto", "back.img", "copy.img", "out.zst"))
    result = {
        "compress": from_same_start(*REDUCTO, "compress", "--input", image, "--output", out, *options),
        "decompress": from_same_start(*REDUCTO, "decompress", "--input", out, "--output", back, *options),
        "cp": from_same_start("cp", "--reflink=never", image, copy),
        "zstd -1 -T2": from_same_start("zstd", "-q", "-f", "-1", "-T2", image, "-o", zstd),
    }
    run("cmp", image, back)
    for each in (back, copy, zstd):
        each.unlink()
    return result


def _memory(report: Report, images: Path, corpus: Path, folder: Path) -> None:
    """Measures two lengths, because the peak memory must not depend on the length."""
    rows = []
    for name, command in (
        ("512 MiB", f"head -c {512 * _MIB} {images}/new.img"),
        ("4 GiB", f"cat {images}/new.img {images}/old.img"),
    ):
        source, out, back = folder / "in.img", folder / "in.reducto", folder / "back.img"
        run("sh", "-c", command, stdout=source)
        options = ["--corpus", corpus, "--allow-unsigned", "--quiet"]
        up = run(*REDUCTO, "compress", "--input", source, "--output", out, *options, watch_memory=True)
        down = run(*REDUCTO, "decompress", "--input", out, "--output", back, *options, watch_memory=True)
        run("cmp", source, back)
        for each in (source, out, back):
            each.unlink()
        rows.append([name, up.peak_bytes / _MIB, down.peak_bytes / _MIB])
    report.table("Peak memory beyond corpora, MiB", ["input", "compress", "decompress"], rows)
    report.at_most("most memory of any run", max(max(row[1], row[2]) for row in rows), 512, "MiB")
