"""Data sets are whole or absent, and built once however many ask."""

import threading
from pathlib import Path

import pytest

from tests.bench.data.cache import Dataset, dataset, datasets
from tests.bench.data.image_series import BUMPS, LAYER_NAMES, REQUIREMENTS
from tests.bench.data.nightly import CHANGES


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDUCTO_BENCH_DATA", str(tmp_path))
    return tmp_path


def test_failed_build_leaves_nothing_that_looks_ready() -> None:
    def fails(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"half")
        raise OSError("disk full")

    broken = Dataset("broken", "never whole", fails)
    with pytest.raises(OSError, match="disk full"):
        broken.ensure()
    assert not broken.ready


def test_many_at_once_build_it_once(data_folder: Path) -> None:
    built: list[Path] = []

    def builds(folder: Path) -> None:
        built.append(folder)
        (folder / "whole.bin").write_bytes(b"whole")

    wanted = Dataset("wanted", "built once", builds)
    threads = [threading.Thread(target=wanted.ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert (wanted.path / "whole.bin").read_bytes() == b"whole"
    assert wanted.path == data_folder / "wanted"


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(KeyError, match="image-series"):
        dataset("no-such-data")


def test_every_data_set_says_what_it_is() -> None:
    assert len(datasets()) > 8
    assert all(len(each.summary) > 20 for each in datasets().values())


def test_series_is_what_the_benchmarks_name() -> None:
    assert len(BUMPS) == 6
    assert set(BUMPS) <= set(REQUIREMENTS)
    assert [len(layers) for layers in LAYER_NAMES.values()] == [1, 2, 3, 3, 4]
    assert len(CHANGES) == 10
