"""Sizes of layers, packages, programs, sources and logs, compared with gzip, zstd and ``zstd --patch-from``."""

from __future__ import annotations

from pathlib import Path

from tests.bench.codec_runs import REDUCTO, corpus_of, run, scratch
from tests.bench.data import dataset
from tests.bench.report import Report, benchmark

_LEVEL = 9


@benchmark("ratio", "Sizes beside gzip, zstd and zstd --patch-from")
def ratio(report: Report) -> None:
    """Stored sizes of plain layers, packages, programs, sources, logs and noise beside those of gzip and zstd."""
    layers = dataset("image-series").ensure() / "layers"
    with scratch() as folder:
        _rebuilt(report, layers, folder)
        _pairs(report, layers, folder)
        _alone(report, layers, folder)
        _texts(report, folder)
        _unrelated(report, folder)


def _reduce(new: Path, folder: Path, old: Path | None = None) -> tuple[int, float]:
    """The stored bytes and the seconds of ``reducto compress``. The result is rebuilt and compared."""
    options: list[str | Path] = ["--quiet"]
    if old is not None:
        options += ["--corpus", corpus_of(old, folder / "old.rc"), "--allow-unsigned"]
    out, back = folder / "out.reducto", folder / "back"
    taken = run(*REDUCTO, "compress", "--level", str(_LEVEL), "--input", new, "--output", out, *options)
    run(*REDUCTO, "decompress", "--input", out, "--output", back, *options)
    run("cmp", new, back)
    back.unlink()
    return out.stat().st_size, taken.processor_seconds


def _filtered(folder: Path, *command: str | Path) -> tuple[int, float]:
    """The bytes that a compressor writes to standard output, and its processor seconds."""
    out = folder / "peer"
    taken = run(*command, stdout=out)
    return out.stat().st_size, taken.processor_seconds


def _gzip(path: Path, folder: Path) -> int:
    return _filtered(folder, "gzip", "-6", "-c", path)[0]


def _rebuilt(report: Report, layers: Path, folder: Path) -> None:
    stored, _ = _reduce(layers / "app-repatched.tar", folder, layers / "app.tar")
    gzipped = _gzip(layers / "app-repatched.tar", folder)
    report.table("The application rebuilt on the patched base", ["gzip -6", "reducto"], [[gzipped, stored]])
    report.at_most("rebuilt layer, part of its gzip size", 100 * stored / gzipped, 0.2, "%")


def _pairs(report: Report, layers: Path, folder: Path) -> None:
    pairs = [
        ("six dependencies bumped", layers / "app.tar", layers / "app-bumped.tar", 0.85),
        ("Python on the patched base", layers / "python.tar", layers / "python-repatched.tar", 1.1),
    ]
    for name in ("node-layers", "apt-layers", "go-programs"):
        data = dataset(name).ensure()
        pairs.append((name, data / "old.tar", data / "new.tar", 1.1))
    rows = []
    for name, old, new, limit in pairs:
        stored, seconds = _reduce(new, folder, old)
        peer, peer_seconds = _filtered(
            folder, "zstd", "-q", "-19", "--long=31", "-T1", f"--patch-from={old}", new, "-c"
        )
        rows.append([name, new.stat().st_size, peer, peer_seconds, stored, seconds])
        report.at_most(f"{name}: size as a ratio to zstd -19 --patch-from", stored / peer, limit)
        if limit < 1:
            report.at_most(f"{name}: time as a ratio to it", seconds / peer_seconds, 1 / 20)
    report.table(
        "Old and new layer, bytes and processor seconds",
        ["pair", "plain", "zstd -19 --long=31 --patch-from", "s", f"reducto, level {_LEVEL}", "s"],
        rows,
    )


def _alone(report: Report, layers: Path, folder: Path) -> None:
    stored, _ = _reduce(layers / "app.tar", folder)
    peer, _ = _filtered(folder, "zstd", "-q", f"-{_LEVEL}", "--long=27", "-T1", layers / "app.tar", "-c")
    report.table("A first layer without similar layers", [f"zstd -{_LEVEL} --long=27", "reducto"], [[peer, stored]])
    report.at_most("first layer: size as a ratio to zstd --long=27", stored / peer, 1.02)


def _texts(report: Report, folder: Path) -> None:
    code, logs, access = (dataset(name).ensure() for name in ("go-source", "logs", "access-logs"))
    rows = []
    for name, old, new in (
        ("two releases of a source tree", code / "old.tar", code / "new.tar"),
        ("build logs of two days", logs / "build-1.log", logs / "build-2.log"),
        ("access logs of a mirror, two days", access / "access-1.log", access / "access-2.log"),
    ):
        stored, _ = _reduce(new, folder, old)
        gzipped = _gzip(new, folder)
        rows.append([name, new.stat().st_size, gzipped, stored])
        report.at_least(f"{name}: times smaller than gzip -6", gzipped / stored, 5)
    report.table("Code and logs, bytes", ["data", "plain", "gzip -6", "reducto"], rows)


def _unrelated(report: Report, folder: Path) -> None:
    data = dataset("unrelated").ensure()
    rows = []
    for path in (data / "noise.bin", data / "wheel.whl"):
        stored, _ = _reduce(path, folder)
        peer, _ = _filtered(folder, "zstd", "-q", f"-{_LEVEL}", "-T1", path, "-c")
        rows.append([path.name, path.stat().st_size, peer, stored])
        report.at_most(f"{path.name}: size as a ratio to zstd -{_LEVEL}", stored / peer, 1.001)
    report.table("Unrelated data, bytes", ["data", "plain", f"zstd -{_LEVEL}", "reducto"], rows)
