"""What a benchmark says: tables, bars that must hold, plots; as text for a terminal, JSON and Markdown.

A benchmark is a function ``measure(report)`` decorated with ``@benchmark(name, title)`` in a module
``tests/bench/bench_*.py``; ``python -m tests.bench NAME`` runs it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "benchmarks"

Cell = str | int | float | None


@dataclass
class Table:
    """Rows under columns; numbers are shown with three significant digits."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass
class Bar:
    """A figure that was promised: ``measured`` must not be beyond ``limit``."""

    what: str
    measured: float
    limit: float
    unit: str
    better: Literal["lower", "higher"]

    @property
    def holds(self) -> bool:
        return self.measured <= self.limit if self.better == "lower" else self.measured >= self.limit


@dataclass
class Plot:
    """Lines over a common axis; ``file`` is the SVG beside the results."""

    title: str
    file: str


@dataclass
class Report:
    """Collects what one benchmark found out."""

    name: str
    title: str
    command: str
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> None:
        """A table of what was measured."""
        self.tables.append(Table(title, list(columns), [list(row) for row in rows], note))

    def at_most(self, what: str, measured: float, limit: float, unit: str = "x") -> None:
        """A promise that ``measured`` is not above ``limit``."""
        self.bars.append(Bar(what, measured, limit, unit, "lower"))

    def at_least(self, what: str, measured: float, limit: float, unit: str = "x") -> None:
        """A promise that ``measured`` is not below ``limit``."""
        self.bars.append(Bar(what, measured, limit, unit, "higher"))

    def plot(self, title: str, file: str, svg: str) -> None:
        """A picture, written beside the results."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / file).write_text(svg)
        self.plots.append(Plot(title, file))

    def text(self) -> str:
        """For a terminal."""
        parts = [f"\n{self.title}"]
        for table in self.tables:
            parts.append(f"\n{table.title}\n{_aligned(table)}")
            parts += [table.note] if table.note else []
        parts += [f"{'holds' if bar.holds else 'FALLS SHORT'}: {_sentence(bar)}" for bar in self.bars]
        return "\n".join(parts)

    def write(self) -> Path:
        """``docs/benchmarks/NAME.json``, with date, machine and commit."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        facts = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), "commit": commit()}
        bars = [{**asdict(bar), "holds": bar.holds} for bar in self.bars]
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps({**asdict(self), "bars": bars, **facts}, indent=1) + "\n")
        return path


Measure = Callable[[Report], None]


@dataclass(frozen=True)
class Benchmark:
    name: str
    title: str
    measure: Measure

    def run(self) -> Report:
        report = Report(self.name, self.title, f"python -m tests.bench {self.name}")
        self.measure(report)
        return report


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str, title: str) -> Callable[[Measure], Measure]:
    """Makes ``measure`` known under ``name``."""

    def decorate(measure: Measure) -> Measure:
        BENCHMARKS[name] = Benchmark(name, title, measure)
        return measure

    return decorate


def machine() -> str:
    """Processor, cores, memory and system; nothing that names the host."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{model}, {os.cpu_count()} cores, {gibibytes:.0f} GiB, {system}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that was measured, with a plus where the work tree differs from it."""
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(described, capture_output=True, text=True).stdout.strip() or "unknown"


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """``docs/benchmarks.md`` from the JSON of all benchmarks."""
    parts = [
        "# Benchmarks\n",
        "Made by `make bench`; do not edit. Each part says what made it, when, where and of what.\n",
    ]
    short = [(result["title"], bar) for result in results for bar in result["bars"] if not bar["holds"]]
    if short:
        parts.append("Promises that do not hold yet:\n")
        parts += [f"- {title}: {_sentence(_bar(bar))}" for title, bar in short] + [""]
    for result in results:
        parts.append(f"## {result['title']}\n")
        facts = f"`{result['command']}`, {result['date']}, commit {result['commit']}, on {result['machine']}."
        parts.append(facts + "\n")
        for table in result["tables"]:
            parts.append(f"### {table['title']}\n\n{_markdown_table(Table(**table))}\n")
            parts += [table["note"] + "\n"] if table["note"] else []
        parts += [f"![{plot['title']}](benchmarks/{plot['file']})\n" for plot in result["plots"]]
        if result["bars"]:
            parts += [
                f"- {'holds' if bar['holds'] else '**falls short**'}: {_sentence(_bar(bar))}" for bar in result["bars"]
            ]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _bar(facts: dict[str, Any]) -> Bar:
    return Bar(**{key: value for key, value in facts.items() if key != "holds"})


def _sentence(bar: Bar) -> str:
    edge = "at most" if bar.better == "lower" else "at least"
    return f"{bar.what}: {_shown(bar.measured)} {bar.unit} ({edge} {_shown(bar.limit)})"


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return "" if cell is None else str(cell)


def _aligned(table: Table) -> str:
    lines = [table.columns, *([_shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _markdown_table(table: Table) -> str:
    head = "| " + " | ".join(table.columns) + " |\n|" + " --- |" * len(table.columns)
    return "\n".join([head, *("| " + " | ".join(map(_shown, row)) + " |" for row in table.rows)])
