"""Functions, files and constructors stay small enough to be read at once.

The limits are 60 lines for a function, 400 lines for a Python file, 500 lines for a C file, and 7 parameters for a
constructor. A function or file that must be longer says why in a comment that begins with "Long because:". For a file
the comment stands above its first function, for a function inside it or, in C, in the comment directly above it.

A constructor is an `__init__`, of which every parameter but ``self`` counts, or that of a dataclass, of which every
field counts that the caller may give. One kind of dataclass may have more fields: a frozen one whose fields must be
given by name (`kw_only`). Such an object is a plain value (the options of a section, a parsed document, a report), and
a call that names each field cannot mix two of them up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.sources import c_sources, python_sources, shown

FUNCTION_LINES = 60
PYTHON_FILE_LINES = 400
C_FILE_LINES = 500
PARAMETERS = 7
REASON = re.compile(r"(#|/?\*) *Long because: \w+ \w+")

#: The beginning of a C declaration: it stands at the margin and is neither a comment, a directive nor a brace.
C_BEGIN = re.compile(r"[A-Za-z_]")
#: Comments, characters and strings of a line of C, in which a brace has no meaning.
C_NO_CODE = re.compile(r"/\*.*?(\*/|$)|//.*|'(\\.|[^'\\])'|\"(\\.|[^\"\\])*\"|^ \*.*")
#: The name of a C function, before the parameters at the end of its signature.
C_NAME = re.compile(r"(\w+)\((?:[^()]|\([^()]*\))*\)$")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(path: Path) -> list[str]:
    """What is too long in a source without saying why, one line for each."""
    lines = path.read_text().splitlines()
    functions, limit = (python_functions, PYTHON_FILE_LINES) if path.suffix == ".py" else (c_functions, C_FILE_LINES)
    found = list(functions(lines))
    first = found[0][1] if found else len(lines)
    head = lines[: first - len(comment_above(lines, first))]
    problems = [] if len(lines) <= limit or says_why(head) else [f"{path.name}: {len(lines)} lines"]
    return problems + [
        f"{path.name}:{start + 1}: {name} has {stop - start} lines"
        for name, start, stop in found
        if stop - start > FUNCTION_LINES and not says_why([*comment_above(lines, start), *lines[start:stop]])
    ]


def says_why(lines: list[str]) -> bool:
    return any(REASON.search(line) for line in lines)


def comment_above(lines: list[str], start: int) -> list[str]:
    """The lines of the comment that ends directly above a C function; no lines if there is none."""
    first = start
    while first and lines[first - 1].startswith(("/*", " *")):
        first -= 1
    return lines[first:start]


def python_functions(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Every function and method as (name, index of its first line, index after its last line), in their order."""
    nodes = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, Function)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        assert node.end_lineno is not None
        yield node.name, node.lineno - 1, node.end_lineno


def c_functions(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Every C function as (name, index of its first line, index after its last line), in their order.

    A declaration begins at the margin, and ends with the line that closes its last brace or ends with a semicolon. It
    is a function if parameters stand before its first brace.
    """
    start, depth = None, 0
    for number, line in enumerate(lines):
        if start is None and C_BEGIN.match(line):
            start, depth = number, 0
        if start is None:
            continue
        code = C_NO_CODE.sub("", line).rstrip()
        depth += code.count("{") - code.count("}")
        if depth or not code.endswith((";", "}")):
            continue
        before = " ".join(" ".join(lines[start : number + 1]).partition("{")[0].split())
        if (named := C_NAME.search(before)) and "=" not in before:
            yield named[1], start, number + 1
        start = None


def constructors(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every class that has a constructor of its own, with the number of parameters that count."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for method in node.body:
            if isinstance(method, Function) and method.name == "__init__":
                given = method.args
                yield node.name, len(given.posonlyargs + given.args + given.kwonlyargs) - 1
        options = dataclass_options(node)
        if options is not None and not {"frozen", "kw_only"} <= options:
            yield node.name, sum(is_parameter(field) for field in node.body)


def dataclass_options(node: ast.ClassDef) -> set[str] | None:
    """The names of the options that a dataclass sets to True; None for any other class."""
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        if ast.unparse(call.func if call else decorator).endswith("dataclass"):
            keywords = call.keywords if call else []
            return {str(each.arg) for each in keywords if ast.unparse(each.value) == "True"}
    return set() if any(ast.unparse(base).endswith("NamedTuple") for base in node.bases) else None


def is_parameter(field: ast.stmt) -> bool:
    """Whether a statement in a dataclass declares a field that the constructor takes."""
    if not isinstance(field, ast.AnnAssign):
        return False
    value = ast.unparse(field.value) if field.value is not None else ""
    return "ClassVar" not in ast.unparse(field.annotation) and "init=False" not in value


@pytest.mark.parametrize("source", [*python_sources(), *c_sources()], ids=shown)
def test_functions_and_files_are_short_or_say_why_not(source: Path) -> None:
    assert too_long(source) == []


@pytest.mark.parametrize("source", python_sources(), ids=shown)
def test_constructors_take_few_parameters(source: Path) -> None:
    tree = ast.parse(source.read_text())
    assert [name for name, count in constructors(tree) if count > PARAMETERS] == []


def test_what_is_too_long_is_noticed(tmp_path: Path) -> None:
    body = "    pass\n" * FUNCTION_LINES
    file = tmp_path / "long.py"
    file.write_text(f"def f():\n{body}")
    assert too_long(file) == ["long.py:1: f has 61 lines"]
    file.write_text(f"def f():\n    # Long because: a table follows.\n{body}")
    assert too_long(file) == []
    file.write_text("x = 1\n" * 401)
    assert too_long(file) == ["long.py: 401 lines"]
    file.write_text("# Long because: a table follows.\n" + "x = 1\n" * 401)
    assert too_long(file) == []
    source = tmp_path / "long.c"
    statements = "    x();\n" * FUNCTION_LINES
    source.write_text(f"static const int table[] = {{\n{statements}}};\nint\ntwo(void) {{\n{statements}}}\n")
    assert too_long(source) == ["long.c:63: two has 63 lines"]
    source.write_text(f"int two(int a,\n        int b) {{\n    /* Long because: one loop. */\n{statements}}}\n")
    assert too_long(source) == []
    source.write_text(f"/* Twice.\n * Long because: one loop. */\nint two(void) {{\n{statements}}}\n")
    assert too_long(source) == []
    source.write_text(f"/* Long because: of another. */\n\nint two(void) {{\n{statements}}}\n")
    assert too_long(source) == ["long.c:3: two has 62 lines"]


def test_constructors_with_many_parameters_are_noticed() -> None:
    fields = "".join(f"    field_{number}: int\n" for number in range(8))
    names = ", ".join(f"p{number}" for number in range(8))
    classes = (
        f"class Many:\n    def __init__(self, {names}): ...\n"
        f"class Named:\n    def __init__(self, *, {names}): ...\n"
        f"@dataclass\nclass Record:\n{fields}"
        f"@dataclass(frozen=True, kw_only=True)\nclass Options:\n{fields}"
        f"class Row(NamedTuple):\n{fields}"
        f"@dataclass\nclass Report:\n{fields[:-1]} = field(default=0, init=False)\n"
    )
    assert list(constructors(ast.parse(classes))) == [
        ("Many", 8), ("Named", 8), ("Record", 8), ("Row", 8), ("Report", 7),
    ]  # fmt: skip
