"""The C files stand in layers: no file includes or calls one that, by way of others, includes or calls it."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CEXT = Path(__file__).resolve().parents[2] / "cext"
FOLDERS = ("base", "matching", "deflate")
#: Headers that declare what other files define, so that both sides of an interface name only the header.
INTERFACES = ("encoder.h", "klauspost_matchers.h")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

NAME = r"(?:rdk|kp)_\w+"
#: A function or an array that other files can see. Files are formatted, so it begins at the start of a line.
VISIBLE = rf"^(?!static|typedef|struct|enum)[a-z][\w *]*?\b({NAME})"
DEFINITION = re.compile(VISIBLE + r"(?:\([^;{}]*\) \{|(?:\[[^\]]*\])* = )", re.M)
DECLARATION = re.compile(VISIBLE + r"(?:\([^;{}]*\)|(?:\[[^\]]*\])*);", re.M)


def code(text: str) -> str:
    """``text`` with neither comments nor strings."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def includes(text: str) -> list[str]:
    return re.findall(r'^#include "([^"]+)"', text, re.M)


def graph(root: Path) -> dict[str, set[str]]:
    """What every unit, a header and the source file of the same name, includes or calls."""
    files = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.[ch]"))]
    unit = {path: f"{path.parent.name}/{path.stem}" for path in files}
    definers = {name: unit[path] for path in files for name in DEFINITION.findall(code(path.read_text()))}
    needs: dict[str, set[str]] = {each: set() for each in unit.values()}
    for path in files:
        text = path.read_text()
        found = [candidate for name in includes(text) for candidate in (root / name, path.parent / name)]
        needs[unit[path]] |= {unit[each] for each in found if each in unit}
        if path.suffix == ".c":  # a header that calls what others define is an interface
            needs[unit[path]] |= {definers[name] for name in re.findall(rf"\b{NAME}", code(text)) if name in definers}
    return {each: others - {each} for each, others in needs.items()}


def functions(text: str) -> Iterator[tuple[str, int, str]]:
    """Name, number of lines and preceding comment of each function of a formatted file."""
    lines = text.splitlines()
    for end in (number for number, line in enumerate(lines) if line == "}"):
        start = max(number for number in range(end) if re.match(r"[a-z].*\w\(", lines[number]))
        before = start
        while before and lines[before - 1].strip():
            before -= 1
        yield lines[start], end - start + 1, "\n".join(lines[before:start])


SOURCES = sorted(path for folder in (*FOLDERS, "fuzz", "api") for path in (CEXT / folder).glob("*.[ch]"))


def test_no_file_needs_itself_by_way_of_others() -> None:
    needs = graph(CEXT)
    assert len(needs) > 40
    assert "deflate/huffman" in needs["deflate/token_writer"]
    assert "deflate/replay" in needs["deflate/zlib"]  # by a call alone
    list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize(
    "below",
    ['#include "above.h"\n', "void rdk_above(void);\nvoid rdk_below(void) { rdk_above(); }\n"],
    ids=["include", "call"],
)
def test_a_circle_is_found(tmp_path: Path, below: str) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "base" / "above.c").write_text('#include "above.h"\n#include "below.h"\nvoid rdk_above(void) {\n}\n')
    (tmp_path / "base" / "above.h").write_text("void rdk_above(void);\n")
    (tmp_path / "base" / "below.h").write_text("")
    (tmp_path / "base" / "below.c").write_text(below)
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph(tmp_path)).static_order())


def test_functions_are_declared_in_the_header_of_their_name() -> None:
    elsewhere = [*(CEXT / "api").glob("*.h"), *(CEXT / "deflate" / name for name in INTERFACES)]
    anywhere = {name for path in elsewhere for name in DECLARATION.findall(code(path.read_text()))}
    stray = []
    for path in SOURCES:
        header = path.with_suffix(".h")
        declared = set(DECLARATION.findall(code(header.read_text()))) if header.exists() else set()
        if path.suffix == ".c":
            stray += [name for name in DEFINITION.findall(code(path.read_text())) if name not in declared | anywhere]
    assert [name for name in stray if not name.startswith("rdk_family_")] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX
    long = [name for name, lines, why in functions(text) if lines > FUNCTION_LINES_MAX and "because" not in why]
    assert long == []
