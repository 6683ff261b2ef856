"""Differences: whatever the bytes, they come back; where they resemble each other, little is left; columns may lie."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reducto.errors import Corrupt, UsageError
from reducto.kernel.difference import ADDED, COLUMNS, LENGTH_LIMIT_BYTES, LITERALS, DifferenceReader, difference_columns
from tests.codec.samples import program

NEAR, LITERAL, MOVES, SAME, CHANGED = range(ADDED)


def columns_of(old: bytes, new: bytes) -> list[bytes]:
    columns = difference_columns(old, new)
    assert columns is not None
    assert len(columns) == COLUMNS
    return columns


def read(columns: list[bytes], old: bytes, length: int, step: int = 1 << 20) -> bytes:
    reader, out = DifferenceReader(columns, old), bytearray(length)
    for at in range(0, length, step):
        reader.read_into(memoryview(out)[at : at + step])
    return bytes(out)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_edits_come_back_in_any_pieces(data: st.DataObject) -> None:
    old = bytearray(program(data.draw(st.integers(0, 60)), data.draw(st.integers(0, 3))))
    new = bytearray()
    for _ in range(data.draw(st.integers(0, 5))):
        start = data.draw(st.integers(0, len(old)))
        piece = old[start : start + data.draw(st.integers(0, 3000))]
        for at in range(0, len(piece), data.draw(st.integers(1, 50))):
            piece[at] = piece[at] + 7 & 255
        new += piece + data.draw(st.binary(max_size=60))
    columns = difference_columns(bytes(old), bytes(new))
    if columns is not None:
        assert read(columns, bytes(old), len(new), data.draw(st.integers(1, 999))) == new


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 47, 48, 49, 4096])
def test_lengths_around_seed_and_window(length: int) -> None:
    old = random.Random(1).randbytes(length)
    for new in (b"", old, old[1:], b"x" + old, old[: length // 2] + b"!" + old[length // 2 :], bytes(length)):
        for base in (old, b""):
            columns = difference_columns(base, new)
            assert columns is None or read(columns, base, len(new), 5) == new


def test_moved_addresses_leave_only_what_was_added_to_them() -> None:
    old, new = program(2000), program(2000, shift=0x1200)
    columns = columns_of(old, b"new head" + new)
    assert columns[LITERALS] == b"new head"
    assert set(columns[ADDED]) <= {0x12, 0x13, 0x01}
    assert len(columns[NEAR]) < 10


def test_an_insertion_costs_itself() -> None:
    old, inserted = program(500), random.Random(9).randbytes(400)
    new = old[:7000] + inserted + old[7000:9000] + old[9500:]
    columns = columns_of(old, new)
    assert inserted[20:-20] in columns[LITERALS]
    assert len(columns[LITERALS]) + len(columns[ADDED]) < len(inserted) + 40


def test_what_is_moved_is_found_where_it_was() -> None:
    old = program(3000)
    half = len(old) // 2
    columns = columns_of(old, old[half:] + old[:half])
    assert sum(map(len, columns)) < 60


def test_unlike_bytes_are_literals_until_they_are_too_many() -> None:
    old, new = program(2000), random.Random(2).randbytes(800_000)
    assert len(old) > 200_000
    assert columns_of(old, new[:250_000])[LITERALS] == new[:250_000]
    assert difference_columns(old, new) is None
    assert columns_of(old, old + new[:600_000])[LITERALS] == new[:600_000]
    assert difference_columns(old, old[:100_000] + new) is None


def test_repeats_take_no_longer_than_others() -> None:
    """Every place of the old bytes is a candidate for every place of the new ones: hours, if each were followed."""
    old, new = bytes(16 << 20), (bytes(90) + b"\x01" * 9) * (1 << 17)
    columns = difference_columns(old, new)
    assert columns is None or read(columns, old, len(new)) == new


def test_too_long() -> None:
    with pytest.raises(UsageError):
        difference_columns(bytes(LENGTH_LIMIT_BYTES + 1), b"x")


@pytest.mark.parametrize(
    "change",
    [
        {NEAR: b""},  # ends
        {NEAR: b"\x00", LITERAL: b"\x00"},  # is empty
        {MOVES: b"\x80\x01"},  # beyond the old bytes
        {MOVES: b"\x01"},  # before them
        {NEAR: b"\x33"},  # longer than they
        {NEAR: b"\xff" * 9 + b"\x01"},  # longer than anything
        {NEAR: b"\x80"},  # cut off
        {SAME: b"\x00", CHANGED: b"\x00"},  # an empty run
        {CHANGED: b""},  # no run
        {ADDED: b""},  # nothing to add
        {LITERALS: b"ab"},  # too few
    ],
)
def test_columns_that_lie(change: dict[int, bytes]) -> None:
    good = {NEAR: b"\x32", LITERAL: b"\x03", MOVES: b"\x00", SAME: b"\x28", CHANGED: b"\x0a", ADDED: bytes(range(10))}
    old, columns = bytes(50), {**good, LITERALS: b"abc"}
    assert read(list(columns.values()), old, 53) == bytes(40) + bytes(range(10)) + b"abc"
    reader = DifferenceReader(list({**columns, **change}.values()), old)
    with pytest.raises(Corrupt):
        reader.read_into(bytearray(53))
    with pytest.raises(Corrupt):
        reader.read_into(bytearray(200))
