"""What import-linter cannot see: imports of the compiled module, and of each other's private modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("reducto", "sidecar", "corpus_builder")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(source: Path) -> Iterator[str]:
    """Full names of the modules and names that a file imports."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_sources() -> None:
    assert len(SOURCES) > 10


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_kernel_package_imports_the_c_module(source: Path) -> None:
    inside = source.is_relative_to(ROOT / "reducto" / "kernel")
    assert inside or not [name for name in imported(source) if name.startswith("reducto._kernel")]
