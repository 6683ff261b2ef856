"""Comparing buffers and finding where they have data."""

from __future__ import annotations

import random

import pytest

from reducto.kernel.buffers import data_runs, same_bytes

BLOCK = 16


def slow_runs(data: bytes) -> list[tuple[int, int]]:
    """The same by the definition."""
    runs: list[tuple[int, int]] = []
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if any(block):
            start = runs.pop()[0] if runs and runs[-1][1] == at else at
            runs.append((start, at + len(block)))
    return runs


@pytest.mark.parametrize("seed", range(200))
def test_data_runs(seed: int) -> None:
    rng = random.Random(seed)
    parts = (bytes(rng.randrange(60)) if rng.random() < 0.6 else rng.randbytes(rng.randrange(40)) for _ in range(12))
    data = b"".join(parts)
    assert list(data_runs(data, BLOCK)) == slow_runs(data)


def test_no_data() -> None:
    assert list(data_runs(b"", BLOCK)) == []
    assert list(data_runs(bytes(1000), BLOCK)) == []


def test_same_bytes() -> None:
    assert same_bytes(b"", b"")
    assert same_bytes(b"abc", memoryview(b"xabc")[1:])
    assert not same_bytes(b"abc", b"abd")
    assert not same_bytes(b"abc", b"abcd")
