"""The end-to-end benchmarks work on small images, so that an hour of measuring does not fail in the end."""

import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import bench_gzip, bench_load, bench_series, bench_transfer, report
from tests.bench.report import Report
from tests.gzip import samples
from tests.support.images import busybox_layer, library_layer, write_archive
from tests.support.requirements import promised, require_root, require_tool
from tests.support.shaped_link import available

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces every data set by one folder with a small image series."""
    require_root()
    require_tool("dockerd", "docker", "docker-registry", "busybox", "skopeo", "crane")
    base, python, patches = busybox_layer(), library_layer(1, 3_000_000), library_layer(2, 1_000_000)
    rebuilt, older, newer, again = (library_layer(each, size) for each, size in
                                    ((3, 3_000_000), (4, 12_000_000), (5, 12_000_000), (6, 12_000_000)))  # fmt: skip
    images = {
        "base:latest": [base],
        "base-patched:latest": [base, patches],
        "app:latest": [base, python, older],
        "app-bumped:latest": [base, python, newer],
        "app-repatched:latest": [base, patches, rebuilt, again],
    }
    folder = tmp_path / "data"
    (folder / "layers").mkdir(parents=True)
    write_archive(folder / "images.tar", images)
    (folder / "layers" / "app.tar").write_bytes(older.tar)
    for name, layer in (("0.gz", older), ("1.gz", newer)):
        (folder / name).write_bytes(gzip.compress(layer.tar, 1))
    for module in (bench_series, bench_transfer, bench_load):
        monkeypatch.setattr(module, "dataset", lambda name: SimpleNamespace(ensure=lambda: folder))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")


def run(benchmark: object) -> Report:
    made = Report("small", "On small images", "pytest")
    benchmark(made)  # type: ignore[operator]
    return made


def test_series_reports_storage_and_layers(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_series, "IDLE_AFTER", {"recompression": {"idle_after": "1s"}})
    made = run(bench_series.series)
    growth = {row[0]: row[3] for row in made.tables[2].rows}
    assert growth.keys() == {"app:python", "app:app", "app-bumped:app", "app-repatched:python", "app-repatched:app"}
    assert float(str(growth["app-repatched:app"])) < 0.5, "a rebuild is stored as a difference"
    assert [row[0] for row in made.tables[0].rows] == list(bench_series.IMAGES)


def test_transfer_measures_pushes(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_transfer, "ROUNDS", 1)
    made = run(bench_transfer.transfer)
    assert [len(table.rows) for table in made.tables] == [2]
    assert [bar.what.split()[0] for bar in made.bars] == ["docker"]


def test_pull_measures_pulls_and_the_first_byte(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_transfer, "ROUNDS", 1)
    made = run(bench_transfer.pulling)
    assert [len(table.rows) for table in made.tables] == [2]
    assert [bar.what.split()[0] for bar in made.bars] == ["cold", "warm", "first"]


def test_slow_link_is_slow_for_the_bare_registry(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available():
        (pytest.fail if promised() else pytest.skip)("this machine or user cannot make network namespaces or use tc")
    monkeypatch.setattr(bench_transfer, "ROUNDS", 1)
    made = run(bench_transfer.slow_link)
    layers, *whole = (table.rows for table in made.tables)
    assert len(whole) == 2, "by skopeo, by docker"
    assert [str(row[1]).split(",")[0] for row in layers] == ["docker", "docker", "skopeo", "crane"]
    assert all([row[0] for row in pulls] == [row[0] for row in layers[:2]] for pulls in whole)
    assert all(float(str(seconds)) > 0 for row in layers for seconds in row[2:])
    assert all(float(str(seconds)) > 0 for pulls in whole for row in pulls for seconds in row[1:])


def test_memory_reports_the_sidecars_memory(small_data: None) -> None:
    made = run(bench_load.memory)
    rows = made.tables[0].rows
    assert [row[0] for row in rows] == ["push", "pull"]
    assert all(float(str(row[2])) > 20 for row in rows), "a process with Python in it has some memory"


def test_load_measures_pulls_and_pushes_at_once(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_load, "PULLS", 8)
    monkeypatch.setattr(bench_load, "PUSHES", 4)
    monkeypatch.setattr(bench_load, "PIECES", 2)
    made = run(bench_load.load)
    assert [row[0] for row in made.tables[0].rows] == ["8 pulls, cold", "8 pulls, warm", "4 pushes"]


def test_gzip_continues_an_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"Debian root": samples.archive(400_000), "Node application": samples.words(300_000)}
    monkeypatch.setattr(bench_gzip, "tars", lambda megabytes: small)
    monkeypatch.setattr(bench_gzip, "data_root", lambda: tmp_path)
    monkeypatch.setattr(bench_gzip, "WANTED", re.compile(r"^zlib-[\d.]+-level[16]$"))
    monkeypatch.setattr(bench_gzip, "SECONDS", 0.0)
    begun = run(bench_gzip.gzip_models)
    assert [len(table.rows) for table in begun.tables] == [0, 0]
    monkeypatch.setattr(bench_gzip, "SECONDS", 600.0)
    made = run(bench_gzip.gzip_models)
    assert [[row[1] for row in table.rows] for table in made.tables] == [["zlib-level-1", "zlib-level-6"]] * 2
    assert {row[2] for table in made.tables for row in table.rows} == {"yes"}
    measured = {bar.what: bar.measured for bar in made.bars}
    assert measured["encoders, versions and levels on three tars, measured"] == 4
    timed = {f"rebuild on two threads, {tar}" for tar in small} & measured.keys()
    assert len(timed) == (len(small) if bench_gzip.reference_oracle() else 0), "they need Go, whose files they are"
    assert all(measured[what] > 0 for what in timed)
