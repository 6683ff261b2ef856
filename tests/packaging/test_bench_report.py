"""The benchmarks' report: what holds and what does not, that nothing is lost, that pages fit their data."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.bench import report as module
from tests.bench.__main__ import load_benchmarks
from tests.bench.pages import MANY_BARS, conclusions, pages, tables
from tests.bench.plots import line_plot
from tests.bench.report import BENCHMARKS, RESULTS, Report, benchmark


def example() -> Report:
    report = Report("example", "An example", "python -m tests.bench example")
    report.table("Sizes", ["layer", "MB"], [["app", 57.7123], ["base", None]], note="plain")
    report.at_most("size of the rebuilt layer", 0.25, 0.2, "%")
    report.at_least("speed", 1.5, 1.2)
    report.figure("pages", 7, "files")
    return report


def test_text_says_what_holds() -> None:
    text = example().text()
    assert "FALLS SHORT: size of the rebuilt layer: 0.25 % (at most 0.2)" in text
    assert "holds: speed: 1.5 x (at least 1.2)" in text
    assert " app  57.7" in text


def test_written_result_makes_both_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    text = example().write().read_text()
    assert text.count("\n") < 30, "a row, a figure and a bar take a line each"
    result = json.loads(text)
    assert result["tables"][0]["rows"] == [["app", 57.7123], ["base", None]]
    page = conclusions([result], {"example": "What it is about."})
    assert page.count("size of the rebuilt layer") == 2, "once on top, once among the figures"
    assert "| [example](benchmarks/example.md) | speed | 1.5 x | at least 1.2 | yes |" in page
    assert "| pages | 7 files |  |  |" in page
    assert result["commit"] in page
    assert "What it is about." in page
    assert " cores" in result["machine"]
    assert "| app | 57.7 |" in tables(result, "What it is about.")


def test_many_bars_of_one_kind_show_the_worst() -> None:
    report = Report("many", "Many bars", "python -m tests.bench many")
    for number in range(MANY_BARS + 1):
        report.at_least(f"speed of encoder {number}", 5 - number / 100, 4)
    report.at_most("speed of encoder x", 5, 6)
    facts = json.loads(json.dumps(asdict(report)))
    page = tables({**facts, "date": "today", "machine": "here", "commit": "c"}, "About.")
    assert f"| speed of encoder {MANY_BARS}, the worst of {MANY_BARS + 1} | 4.8 x | at least 4 | yes |" in page
    assert "| speed of encoder x | 5 x | at most 6 | yes |" in page, "another limit is another kind"


def test_a_benchmark_says_what_it_is_about() -> None:
    def silent(report: Report) -> None: ...

    with pytest.raises(ValueError, match="no docstring"):
        benchmark("silent", "Says nothing")(silent)
    assert "silent" not in BENCHMARKS


def test_committed_pages_are_made_from_the_committed_results() -> None:
    for path, text in pages(RESULTS, load_benchmarks()).items():
        assert path.read_text() == text, f"{path.name}: run python -m tests.bench --pages"


def test_plot_has_a_line_per_series() -> None:
    svg = line_plot("Storage", ["1", "2", "3"], {"plain": [1, 2, 3], "reduced": [1, 1.1, 1.2]}, "MB")
    assert svg.count("<polyline") == 2
    assert svg.count(">2<") == 1
