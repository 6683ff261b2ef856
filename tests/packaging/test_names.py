"""A class name and a file name each mean one thing in the whole project."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.packaging.sources import ROOT, c_sources, python_sources, shown

#: File names that may occur in several folders, each with the reason.
SHARED_FILE_NAMES = {"__init__.py": "Python asks for this name in every package."}

#: Public class names that may occur in several files, each with the reason.
SHARED_CLASS_NAMES: dict[str, str] = {}


def several(named: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """Each name that occurs in more than one file -> those files."""
    files: dict[str, set[str]] = defaultdict(set)
    for name, path in named:
        files[name].add(shown(path))
    return {name: sorted(found) for name, found in files.items() if len(found) > 1}


def public_classes(path: Path) -> list[str]:
    """The names of all classes in a file, also of nested ones, that do not begin with an underscore."""
    tree = ast.parse(path.read_text())
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_a_public_class_name_occurs_in_one_file() -> None:
    found = several((name, path) for path in python_sources() for name in public_classes(path))
    assert found.keys() == SHARED_CLASS_NAMES.keys(), found


def test_a_file_name_occurs_in_one_folder() -> None:
    found = several((path.name, path) for path in [*python_sources(), *c_sources()])
    assert found.keys() == SHARED_FILE_NAMES.keys(), found


def test_a_shared_name_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("class Public:\n    class Inner:\n        pass\n\n\nclass _Private:\n    pass\n")
    assert public_classes(source) == ["Public", "Inner"]
    one, two = ROOT / "reducto" / "one.py", ROOT / "sidecar" / "one.py"
    assert several([("A", one), ("A", two), ("B", one), ("B", one)]) == {"A": ["reducto/one.py", "sidecar/one.py"]}
