"""What documents and the chart tell people to type, the command line understands."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from reducto.cli.command_table import COMMANDS, CommandEntry
from tests.chart.generate import ROOT
from tests.chart.helm import VALUE_SETS, containers, pod_specs, render

#: Every document of the project; its folders are named, so that what lies in `.venv` or `build` does not count.
FOLDERS = ("docs", "cext", "charts", "sidecar", "reducto", "corpus_builder", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])

LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")


def typed(page: Path) -> Iterator[str]:
    """Each `$ reducto ...` line of a page's console blocks, and each `reducto ...` in code style."""
    text = page.read_text()
    for block in re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ reducto "):
                yield line.removeprefix("$ ")
    codes = re.findall(r"`(reducto [a-z][^`]*)`", text)
    yield from (code for code in codes if not code.endswith(" v1"))  # the domains of signatures are no commands


def parse(words: list[str]) -> argparse.Namespace:
    """What the command line makes of ``words`` (after `reducto`); exits on what it does not know."""
    entry = _entry(words)
    parser = argparse.ArgumentParser(prog=entry.name, exit_on_error=False)
    for flag in ("--json", "--quiet"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--config")
    entry.load().configure(parser)
    return parser.parse_args(words[len(entry.words) :])


def _entry(words: list[str]) -> CommandEntry:
    matching = [one for one in COMMANDS if tuple(words[: len(one.words)]) == one.words]
    assert matching, f"no command in {words}"
    return max(matching, key=lambda one: len(one.words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_documents_exist(page: Path) -> None:
    for line in typed(page):
        words = shlex.split(line.replace("...", ""), comments=True)[1:]
        if line.startswith("reducto ") and not re.search(r" (--?[a-z]|[A-Z./])", line):
            assert any(tuple(words[: len(one.words)]) == one.words or one.words[0] == words[0] for one in COMMANDS), (
                line
            )
        else:
            parse(words)


def anchors(page: Path) -> set[str]:
    """What links may name behind a `#`: a page's headings as its readers' software spells them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_in_documents_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_in_documents_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert named <= known


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"^\| (\d+) \| \[([^]]+)\]\(([^)]+)\) \|", (folder / "README.md").read_text(), re.MULTILINE)
    pages = sorted(folder.glob("[0-9]*.md"))
    titles = [page.read_text().splitlines()[0] for page in pages]
    assert [f"# {number}. {title}" for number, title, _ in listed] == titles
    assert [name for _, _, name in listed] == [page.name for page in pages]


@pytest.mark.integration
@pytest.mark.parametrize("values", VALUE_SETS, ids=lambda path: path.stem.removesuffix("-values"))
def test_commands_in_the_chart_exist(values: Path) -> None:
    for spec in pod_specs(render("--values", values)):
        for one in containers(spec):
            if "reducto" in one["image"] and "command" not in one:
                parse(one["args"])
