"""Files move whole, between volumes too: in a pod spool and cache are different ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.runtime.atomic import OwnedDirectory, move


@pytest.fixture
def other_volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than ``tmp_path``."""
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=shared_memory) as folder:
        yield Path(folder)


@pytest.mark.parametrize("there_already", [False, True])
def test_between_volumes(tmp_path: Path, other_volume: Path, there_already: bool) -> None:
    source, target = other_volume / "source", tmp_path / "target"
    source.write_bytes(b"new")
    if there_already:
        target.write_bytes(b"old")
    move(source, target)
    assert target.read_bytes() == b"new"
    assert not source.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_copy_that_fails_leaves_both_as_they_were(
    tmp_path: Path, other_volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = other_volume / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def fail(_: Path, temporary: Path) -> None:
        temporary.write_bytes(b"n")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        move(source, target)
    assert target.read_bytes() == b"old"
    assert source.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_killed_processes_left_goes(tmp_path: Path) -> None:
    """A directory without its lock goes only when it is too old to be in the making."""
    new, old, locked = (tmp_path / name for name in ("new", "old", "locked"))
    for folder in (new, old, locked):
        folder.mkdir()
        (folder / "upload").write_bytes(b"part")
    (locked / ".lock").touch()
    os.utime(old, (1, 1))
    owned = OwnedDirectory(tmp_path)
    assert sorted(path for path in tmp_path.iterdir()) == sorted([new, owned.path])
    owned.close()
    assert list(tmp_path.iterdir()) == [new]
