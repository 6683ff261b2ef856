"""Makes Markdown of results: docs/benchmarks.md, one page of conclusions, and a page of tables for each benchmark.

``python -m tests.bench --pages`` makes them again without measuring anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.report import Bar, Table, edge, sentence, shown

Result = dict[str, Any]

#: A benchmark with more bars than this shows of those of one kind and one limit only the one nearest to the limit.
MANY_BARS = 20

INTRODUCTION = """# Benchmarks

What was measured, on what, and what had been promised. `make bench NAMES=name` runs a benchmark, with its name from the
first column; the link leads to all its tables, and the data lie beside them in [benchmarks/](benchmarks). `make bench`
makes this page from the data; please do not edit it. A figure with an "x" is a ratio within one run on one machine.
"""


def write_pages(results_folder: Path, abouts: Mapping[str, str]) -> None:
    """Writes the page of conclusions and each benchmark's page of tables from every result in the folder."""
    for path, text in pages(results_folder, abouts).items():
        path.write_text(text)


def pages(results_folder: Path, abouts: Mapping[str, str]) -> dict[Path, str]:
    """Every page's text by its path; ``abouts`` says of each benchmark what it measures."""
    results = [json.loads(path.read_text()) for path in sorted(results_folder.glob("*.json"))]
    made = {results_folder / f"{result['name']}.md": tables(result, abouts[result["name"]]) for result in results}
    return {results_folder.parent / "benchmarks.md": conclusions(results, abouts), **made}


def conclusions(results: Sequence[Result], abouts: Mapping[str, str]) -> str:
    """docs/benchmarks.md: what does not hold, then every figure, then when and where it was measured."""
    parts = [INTRODUCTION]
    short = [(result, bar) for result in results for bar in map(_bar, result["bars"]) if not bar.holds]
    parts += ["Promises that do not hold yet:\n"] if short else []
    parts += [f"- {result['title']}: {sentence(bar)}" for result, bar in short] + [""] * bool(short)
    what = [[_link(each), f"**{each['title']}.** {abouts[each['name']]}"] for each in results]
    parts.append("## What was measured\n\n" + _markdown_table(["benchmark", "what, and on what data"], what))
    figures = [[_link(each), *row] for each in results for row in _figures(each)]
    columns = ["benchmark", "figure", "measured", "promised", "holds"]
    parts.append("\n## Figures\n\n" + _markdown_table(columns, figures))
    machines = list(dict.fromkeys(result["machine"] for result in results))
    runs = [[_link(each), each["date"], each["commit"], f"{1 + machines.index(each['machine'])}"] for each in results]
    parts.append("\n## When and where\n\nA plus behind a commit says that the work tree differed from it.\n")
    parts.append(_markdown_table(["benchmark", "date", "commit", "machine"], runs))
    parts.append("\n" + "\n".join(f"{number}. {machine}" for number, machine in enumerate(machines, 1)))
    return "\n".join(parts) + "\n"


def tables(result: Result, about: str) -> str:
    """docs/benchmarks/NAME.md: all that one benchmark measured."""
    parts = [
        f"# {result['title']}\n",
        f"{about} Made by `{result['command']}` on {result['date']}, commit {result['commit']},",
        f"on {result['machine']}.",
        "All benchmarks: [benchmarks.md](../benchmarks.md).\n",
    ]
    figures = list(_figures(result))
    if figures:
        parts.append(_markdown_table(["figure", "measured", "promised", "holds"], figures) + "\n")
    for table in (Table(**facts) for facts in result["tables"]):
        parts.append(f"## {table.title}\n\n{_markdown_table(table.columns, [map(shown, row) for row in table.rows])}\n")
        parts += [table.note + "\n"] if table.note else []
    parts += [f"![{plot['title']}]({plot['file']})\n" for plot in result["plots"]]
    return "\n".join(parts).rstrip() + "\n"


def _figures(result: Result) -> Iterator[list[str]]:
    """Rows of what was measured, with its unit, and what was promised."""
    for figure in result["figures"]:
        yield [figure["what"], f"{shown(figure['measured'])} {figure['unit']}", "", ""]
    bars = [_bar(facts) for facts in result["bars"]]
    if len(bars) <= MANY_BARS:
        yield from (_row(bar, bar.what) for bar in bars)
        return
    kinds: dict[tuple[str, float, str], list[Bar]] = {}
    for bar in bars:
        kinds.setdefault((bar.what.split(" of ")[0].split(", ")[0], bar.limit, bar.better), []).append(bar)
    for alike in kinds.values():
        worst = (max if alike[0].better == "lower" else min)(alike, key=lambda bar: bar.measured)
        yield _row(worst, worst.what + (f", the worst of {len(alike)}" if len(alike) > 1 else ""))


def _row(bar: Bar, what: str) -> list[str]:
    return [what, f"{shown(bar.measured)} {bar.unit}".strip(), edge(bar), "yes" if bar.holds else "**no**"]


def _bar(facts: dict[str, Any]) -> Bar:
    return Bar(**{key: value for key, value in facts.items() if key != "holds"})


def _link(result: Result) -> str:
    return f"[{result['name']}](benchmarks/{result['name']}.md)"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]] | Sequence[Iterator[str]]) -> str:
    head = "| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns)
    return "\n".join([head, *("| " + " | ".join(row) + " |" for row in rows)])
