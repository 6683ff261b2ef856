"""Files appear whole or not at all, and can be moved between volumes, as from spool to cache in a pod."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reducto.files import AtomicFile, link_or_copy, move, write_atomically


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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["unnamed", "hidden"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to have a file without its name: ``O_TMPFILE``, and a hidden name where that is missing."""
    if request.param == "hidden":
        monkeypatch.delattr(os, "O_TMPFILE")
    return str(request.param)


@pytest.mark.usefixtures("kind")
def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"old")
    with AtomicFile(path) as file:
        file.file.write(b"new")
        assert path.read_bytes() == b"old"
        file.publish()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


@pytest.mark.usefixtures("kind")
def test_a_file_that_must_not_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old", 0o600, replace=False)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_atomically(path, b"new", replace=False)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.usefixtures("kind")
def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "file") as file:
        file.file.write(b"new")
    assert names(tmp_path) == []


def test_a_link_replaces_what_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a link to the same file, and a copy where the file system has no links."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    for _ in range(2):
        link_or_copy(source, target)
        assert target.samefile(source)
        assert names(tmp_path) == ["source", "target"]

    def fail(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(os, "link", fail)
    link_or_copy(source, target)
    assert not target.samefile(source)
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["source", "target"]
