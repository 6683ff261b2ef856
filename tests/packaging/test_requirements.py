"""pyproject.toml, the lock file of the image and the constraints of `make check-lowest` name the same packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = FACTS["project"]["optional-dependencies"]
#: What the image contains, and what builds it there.
IN_THE_IMAGE = [
    *FACTS["project"]["dependencies"],
    *EXTRAS["redis"],
    *EXTRAS["tracing"],
    *FACTS["build-system"]["requires"],
]


def pinned(text: str) -> dict[str, str]:
    """Versions by package, from lines ``name==version``."""
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, re.MULTILINE)
    }


def test_the_lock_file_fits_what_is_required() -> None:
    locked = pinned((ROOT / "requirements.lock").read_text())
    for requirement in map(Requirement, IN_THE_IMAGE):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: run make lock"
        assert requirement.specifier.contains(version), f"{requirement} is locked as {version}: run make lock"


def test_lowest_versions_are_those_that_are_declared() -> None:
    printed = subprocess.check_output([sys.executable, ROOT / ".ci" / "lowest"], text=True)
    lowest = pinned(printed)
    for requirement in map(Requirement, IN_THE_IMAGE):
        assert f">={lowest[canonicalize_name(requirement.name)]}" in str(requirement.specifier).split(",")
