"""The source files of the project, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("reducto", "sidecar", "corpus_builder")


def python_sources() -> list[Path]:
    """Every Python file of the packages that users install, in the order of their paths."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def c_sources() -> list[Path]:
    """Every C file of the kernel, in the order of their paths. Fuzz targets are included."""
    return sorted(path for path in (ROOT / "cext").rglob("*") if path.suffix in (".c", ".h", ".inc"))


def shown(path: Path) -> str:
    """The path of a source as messages show it."""
    return str(path.relative_to(ROOT))
