"""`make dist-packages`: wheel and source archive carry version, commit and time, and are the same each time."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from reducto.version import __version__
from tests.packaging.image import ROOT
from tests.support.process import run

pytestmark = [pytest.mark.slow]


def make_packages() -> dict[str, str]:
    run("make", "dist-packages", cwd=ROOT, timeout_seconds=1800)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (ROOT / "dist").iterdir()}


def test_the_same_commit_gives_the_same_packages() -> None:
    commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    first = make_packages()
    wheel, source = sorted(first, key=len, reverse=True)
    assert wheel.startswith(f"reducto-{__version__}-cp311-abi3-")
    assert source == f"reducto-{__version__}.tar.gz"
    for stamp in (_from_wheel(ROOT / "dist" / wheel), _from_source(ROOT / "dist" / source)):
        assert stamp["commit"] == commit
        assert stamp["time"].endswith("Z")
    assert make_packages() == first


def _from_wheel(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert any(name.startswith("reducto/_kernel") and name.endswith(".so") for name in names)
        assert not any(name.startswith("tests/") for name in names)
        return dict(json.loads(archive.read("reducto/build.json")))


def _from_source(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert len({member.mtime for member in members}) == 1
        assert {(member.uid, member.gid) for member in members} == {(0, 0)}
        stamp = archive.extractfile(f"reducto-{__version__}/reducto/build.json")
        assert stamp is not None
        return dict(json.load(stamp))
