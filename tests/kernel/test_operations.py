"""Operations: what they yield, told without a copy, is what executing them gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from reducto.codec import Instructions
from reducto.errors import Corrupt
from reducto.kernel.matching import Plan, ReferenceTable
from tests.codec.samples import encode, make_corpus, words


def plan_and_table(folder: Path) -> tuple[Plan, ReferenceTable, bytes]:
    """A plan of many copies out of one corpus, its references, and what it yields."""
    old = words(400_000, seed=31)
    corpus = make_corpus(folder / "old.rc", old)
    blob = old[150_000:] + old[:150_000] + old[70_000:90_000]
    stored = encode(blob, [corpus], folder)
    assert isinstance(stored, bytes)
    operations = Instructions.parse(stored).operations
    assert len(operations) > 2
    table = ReferenceTable()
    table.add(corpus.plain)
    return Plan(operations), table, blob


def test_yields_agrees_with_execute(tmp_path: Path) -> None:
    plan, table, blob = plan_and_table(tmp_path)
    for start, length in ((0, len(blob)), (0, 1), (123_456, 200_001), (len(blob) - 5, 5), (777, 0)):
        out = bytearray(length)
        plan.execute(table, start, out)
        assert out == blob[start : start + length]
        assert plan.yields(table, start, bytes(out))


@pytest.mark.parametrize("at", [0, 4095, 250_000, 419_999])
def test_one_other_bit_is_noticed(at: int, tmp_path: Path) -> None:
    plan, table, blob = plan_and_table(tmp_path)
    other = bytearray(blob)
    other[at] ^= 1
    assert not plan.yields(table, 0, bytes(other))


def test_more_than_there_is_is_not_yielded(tmp_path: Path) -> None:
    plan, table, blob = plan_and_table(tmp_path)
    assert not plan.yields(table, 0, blob + b"x")


def test_a_shorter_reference_is_refused(tmp_path: Path) -> None:
    plan, _, blob = plan_and_table(tmp_path)
    table = ReferenceTable()
    table.add(memoryview(bytes(1000)))
    with pytest.raises(Corrupt):
        plan.yields(table, 0, blob)
