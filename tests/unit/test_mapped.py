"""Mapped files read as any mapping does, and leave neither descriptor nor memory behind."""

from __future__ import annotations

import gc
import mmap
import os
from pathlib import Path

import pytest

from reducto.mapped import Mapped, joined, scratch

LENGTH = 20 << 20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def filled(folder: Path) -> Mapped:
    """A mapping whose pages are in memory."""
    view = scratch(folder, LENGTH)
    view[:] = b"\x07" * LENGTH
    assert isinstance(view.obj, Mapped)
    return view.obj


def test_what_was_given_back_can_still_be_read(tmp_path: Path) -> None:
    mapped, before = filled(tmp_path), resident_bytes()
    mapped.discard_pages()
    assert resident_bytes() < before - LENGTH // 2
    assert mapped[LENGTH - 1] == 7
    assert mapped[0] == 7


def test_only_pages_within_the_range_are_given_back(tmp_path: Path) -> None:
    mapped, before = filled(tmp_path), resident_bytes()
    mapped.discard_pages(1, mmap.PAGESIZE + 1)
    assert resident_bytes() == before
    mapped.discard_pages(1, LENGTH // 2)
    assert before - LENGTH // 2 - (1 << 20) < resident_bytes() < before - LENGTH // 4
    assert mapped[:2] == b"\x07\x07"


def test_what_cannot_be_mapped_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    with open(tmp_path / "empty", "w+b") as file, pytest.raises(ValueError, match="empty"):
        Mapped(file.fileno(), 0)
    assert descriptors() == before


@pytest.mark.slow
@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_nothing_stays_open(tmp_path: Path, in_a_cycle: bool) -> None:
    gc.collect()
    before = descriptors()
    view = scratch(tmp_path, LENGTH)
    assert descriptors() > before
    if in_a_cycle:
        cycle: list[object] = [view, view[5:]]
        cycle.append(cycle)
        del cycle
    del view
    gc.collect()
    assert descriptors() == before


def test_no_length_needs_no_file(tmp_path: Path) -> None:
    assert scratch(tmp_path, 0) == b""


def test_joined(tmp_path: Path) -> None:
    assert joined(tmp_path, [b"ab", memoryview(b"xcd")[1:], b""]) == b"abcd"
    assert joined(tmp_path, []) == b""
