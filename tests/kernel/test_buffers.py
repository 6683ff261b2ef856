"""Comparing and copying buffers, finding where they have data, reading numbers out of them."""

from __future__ import annotations

import random

import pytest

from reducto import varint
from reducto.errors import Corrupt
from reducto.kernel.buffers import copied, copy_bytes, data_runs, leb128_numbers, same_bytes

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


def test_copies() -> None:
    out = bytearray(b"........")
    copy_bytes(memoryview(b"xabcx")[1:4], memoryview(out)[2:])
    assert out == b"..abc..."
    copy_bytes(b"", out)
    assert copied([b"ab", bytearray(b""), memoryview(b"cde")]) == b"abcde"
    assert copied([]) == b""


@pytest.mark.parametrize(("source", "target"), [(0, 3), (3, 0), (2, 2)])
def test_a_copy_onto_itself(source: int, target: int) -> None:
    out, expect = bytearray(range(40)), bytearray(range(40))
    expect[target : target + 30] = expect[source : source + 30]
    copy_bytes(memoryview(out)[source : source + 30], memoryview(out)[target:])
    assert out == expect


def test_a_copy_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="4 bytes do not fit into 3"):
        copy_bytes(b"abcd", bytearray(3))


@pytest.mark.parametrize("seed", range(20))
def test_numbers_come_back(seed: int) -> None:
    rng = random.Random(seed)
    numbers = [rng.getrandbits(rng.randrange(65)) for _ in range(300)] + [0, 127, 128, (1 << 64) - 1]
    table = bytearray(b"head")
    varint.put_numbers(table, *numbers)
    taken, at = leb128_numbers(bytes(table) + b"tail", 4, len(numbers))
    assert list(taken) == numbers
    assert at == len(table)


@pytest.mark.parametrize(
    "table", [b"", b"\x80", b"\x01\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00"], ids=bytes.hex
)
def test_numbers_that_are_none(table: bytes) -> None:
    with pytest.raises(Corrupt):
        leb128_numbers(table, 0, 2 if table == b"\x01\x80" else 1)


def test_more_numbers_than_bytes_are_refused_at_once() -> None:
    with pytest.raises(Corrupt):
        leb128_numbers(b"\x01", 0, 1 << 60)
