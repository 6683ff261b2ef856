"""The benchmarks' report: what holds, what does not, and that neither form of it loses anything."""

import json
from pathlib import Path

import pytest

from tests.bench import report as module
from tests.bench.plots import line_plot
from tests.bench.report import Report, markdown


def example() -> Report:
    report = Report("example", "An example", "python -m tests.bench example")
    report.table("Sizes", ["layer", "MB"], [["app", 57.7123], ["base", None]], note="plain")
    report.at_most("size of the rebuilt layer", 0.25, 0.2, "%")
    report.at_least("speed", 1.5, 1.2)
    return report


def test_text_says_what_holds() -> None:
    text = example().text()
    assert "FALLS SHORT: size of the rebuilt layer: 0.25 % (at most 0.2)" in text
    assert "holds: speed: 1.5 x (at least 1.2)" in text
    assert " app  57.7" in text


def test_written_result_makes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    result = json.loads(example().write().read_text())
    page = markdown([result])
    assert "| app | 57.7 |" in page
    assert page.count("size of the rebuilt layer") == 2, "once on top, once in its place"
    assert result["commit"] in page
    assert " cores" in result["machine"]


def test_plot_has_a_line_per_series() -> None:
    svg = line_plot("Storage", ["1", "2", "3"], {"plain": [1, 2, 3], "reduced": [1, 1.1, 1.2]}, "MB")
    assert svg.count("<polyline") == 2
    assert svg.count(">2<") == 1
