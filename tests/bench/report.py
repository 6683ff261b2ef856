"""What a benchmark says: tables, figures, bars that must hold, plots; as text for a terminal and as JSON.

A benchmark is a function ``measure(report)`` decorated with ``@benchmark(name, title)`` in a module
``tests/bench/bench_*.py``; ``python -m tests.bench NAME`` runs it. ``tests.bench.pages`` makes Markdown of the JSON.
"""

from __future__ import annotations

import inspect
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
class Figure:
    """A figure of which nothing was promised."""

    what: str
    measured: float
    unit: str


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
    figures: list[Figure] = field(default_factory=list)
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

    def figure(self, what: str, measured: float, unit: str) -> None:
        """A figure for the page of conclusions, of which nothing was promised."""
        self.figures.append(Figure(what, measured, unit))

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
        parts += [f"{figure.what}: {shown(figure.measured)} {figure.unit}" for figure in self.figures]
        parts += [f"{'holds' if bar.holds else 'FALLS SHORT'}: {sentence(bar)}" for bar in self.bars]
        return "\n".join(parts)

    def write(self) -> Path:
        """``docs/benchmarks/NAME.json``, with date, machine and commit."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        facts = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), "commit": commit()}
        bars = [{**asdict(bar), "holds": bar.holds} for bar in self.bars]
        path = RESULTS / f"{self.name}.json"
        path.write_text(as_json({**asdict(self), "bars": bars, **facts}) + "\n")
        return path


Measure = Callable[[Report], None]


@dataclass(frozen=True)
class Benchmark:
    """A named measurement; ``about`` says in one paragraph what is measured and on what data."""

    name: str
    title: str
    about: str
    measure: Measure

    def run(self) -> Report:
        report = Report(self.name, self.title, f"python -m tests.bench {self.name}")
        self.measure(report)
        return report


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(name: str, title: str) -> Callable[[Measure], Measure]:
    """Makes ``measure`` known under ``name``; the first paragraph of its docstring says what is measured, on what."""

    def decorate(measure: Measure) -> Measure:
        about = " ".join((inspect.getdoc(measure) or "").split("\n\n")[0].split())
        if not about:
            raise ValueError(f"the benchmark {name} has no docstring")
        BENCHMARKS[name] = Benchmark(name, title, about, measure)
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


def as_json(value: Any, indent: str = "") -> str:
    """JSON with one line for each row, figure and bar, so that two results can be compared line by line."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(each, dict | list) for each in inner):
        return json.dumps(value)
    deeper = indent + " "
    if isinstance(value, dict):
        items, (first, last) = [f"{json.dumps(key)}: {as_json(each, deeper)}" for key, each in value.items()], "{}"
    else:
        items, (first, last) = [as_json(each, deeper) for each in value], "[]"
    return f"{first}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{last}"


def edge(bar: Bar) -> str:
    """The limit as words: ``at most 0.5``."""
    return f"{'at most' if bar.better == 'lower' else 'at least'} {bar.limit:.4g}"


def sentence(bar: Bar) -> str:
    """What was measured and promised, in one line."""
    return f"{bar.what}: {shown(bar.measured)} {bar.unit} ({edge(bar)})"


def shown(cell: Cell) -> str:
    """A cell as text: numbers below 1000 with three significant digits, larger ones without fraction."""
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return "" if cell is None else str(cell)


def _aligned(table: Table) -> str:
    lines = [table.columns, *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
