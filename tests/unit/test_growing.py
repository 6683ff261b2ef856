"""A growing file has one writer, and readers that read it while it grows."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from sidecar.runtime.growing_file import GrowingFile
from sidecar.runtime.offload import Offload


def written(folder: Path, offset: int, pieces: Iterable[bytes | memoryview]) -> bytes:
    """The file's content after its writer wrote ``pieces``."""

    async def run() -> bytes:
        offload = Offload()
        file = await GrowingFile.create(folder / "file", offload)
        file.write_at(offset, *pieces)
        await file.release()
        offload.close()
        return (folder / "file").read_bytes()

    return asyncio.run(run())


def test_pieces_are_written_one_after_the_other(tmp_path: Path) -> None:
    assert written(tmp_path, 3, [b"ab", b"", memoryview(b"xcd")[1:]]) == bytes(3) + b"abcd"


def test_no_pieces(tmp_path: Path) -> None:
    assert written(tmp_path, 0, []) == b""


def test_more_pieces_than_one_call_takes(tmp_path: Path) -> None:
    pieces = [bytes([number % 251]) * (number % 3) for number in range(3 * os.sysconf("SC_IOV_MAX"))]
    assert written(tmp_path, 0, pieces) == b"".join(pieces)


def test_a_write_that_ends_early_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, rng = os.pwritev, random.Random(1)

    def short(descriptor: int, pieces: list[memoryview], offset: int) -> int:
        """Writes fewer bytes than it was given, as an operating system may."""
        data = b"".join(pieces)
        return real(descriptor, [data[: rng.randrange(1, len(data) + 1)]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    pieces = [rng.randbytes(rng.randrange(1, 50)) for _ in range(100)]
    assert written(tmp_path, 7, pieces) == bytes(7) + b"".join(pieces)
