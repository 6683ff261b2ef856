"""Tables that were sorted on disk are the same as those that were sorted in memory."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reducto.corpus.anchors import decode_anchors, encode_anchors
from reducto.corpus.fingerprint_table import PREFIX_BYTES, FingerprintTable
from reducto.corpus.pair_spool import PairSpool
from reducto.errors import Corrupt, UsageError

Pairs = list[tuple[int, int]]


def reference_table(pairs: Pairs) -> bytes:
    """The table section by its definition (docs/formats/corpus.md), slot by slot."""
    first: dict[int, int] = {}
    for fingerprint, offset in pairs:
        first[fingerprint] = min(offset, first.get(fingerprint, 1 << 64))
    homes = len(first) + len(first) // 3 + 1
    slots: Pairs = []
    for fingerprint in sorted(first):
        slots += [(2**64 - 1, 2**64 - 1)] * ((fingerprint * homes >> 64) - len(slots))
        slots.append((fingerprint, first[fingerprint]))
    slots += [(2**64 - 1, 2**64 - 1)] * (homes - len(slots))
    return struct.pack("<QQ48x", len(first), homes) + b"".join(struct.pack("<QQ", *slot) for slot in slots)


def spooled(directory: Path, pairs: Pairs, run_bytes: int) -> bytes:
    spool = PairSpool(directory, run_bytes)
    for at in range(0, len(pairs), 7):
        spool.add(pairs[at : at + 7])
    table = b"".join(spool.table())
    spool.close()
    return table


@pytest.mark.parametrize("run_bytes", [160, 4096, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 1000, 5000])
def test_any_run_length_gives_the_defined_table(tmp_path: Path, count: int, run_bytes: int) -> None:
    rng = random.Random(count)
    pairs = [(rng.getrandbits(64), rng.getrandbits(40)) for _ in range(count)]
    pairs += [(fingerprint, offset + 1) for fingerprint, offset in pairs[::3]]
    assert spooled(tmp_path, pairs, run_bytes) == reference_table(pairs)
    assert list(tmp_path.iterdir()) == []


U64 = st.integers(0, 2**64 - 1)
#: Fingerprints close to each other, and at both ends of their range.
CROWDED = st.one_of(st.integers(0, 3), st.integers(2**64 - 4, 2**64 - 1), st.integers(2**63, 2**63 + 3), U64)


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(CROWDED, st.integers(0, 2**63)), max_size=60), absent=st.lists(CROWDED))
def test_lookups_agree_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, pairs: Pairs, absent: list[int]
) -> None:
    section = spooled(tmp_path_factory.getbasetemp(), pairs, 64)
    assert section == reference_table(pairs)
    table = FingerprintTable(memoryview(section))
    expected: dict[int, int] = {}
    for fingerprint, offset in sorted(pairs, reverse=True):
        expected[fingerprint] = offset
    assert dict(table) == expected
    keys = [*expected, *absent]
    assert [table.find(key) for key in keys] == [expected.get(key) for key in keys]
    assert list(table.find_many(keys)) == [expected.get(key, 2**64 - 1) for key in keys]


def test_a_table_whose_counts_lie_is_refused() -> None:
    good = reference_table([(5, 1), (2**63, 2)])
    FingerprintTable(memoryview(good))
    for bad in (
        good[: PREFIX_BYTES - 16],
        good[:-16],
        good[:-1],
        struct.pack("<QQ48x", 1 << 60, 3) + good[64:],
        struct.pack("<QQ48x", 2, 1 << 60) + good[64:],
        good[:63] + b"\1" + good[64:],
    ):
        with pytest.raises(Corrupt):
            FingerprintTable(memoryview(bad))


@given(st.sets(st.integers(1, 2**62), max_size=50))
def test_anchors_round_trip(offsets: set[int]) -> None:
    ascending = sorted(offsets)
    section = b"".join(encode_anchors(ascending))
    assert list(decode_anchors(section, 2**62)) == ascending


def test_anchors_out_of_order_or_place_are_refused() -> None:
    with pytest.raises(UsageError, match="ascend"):
        list(encode_anchors([5, 4]))
    for bad in (b"\x80", b"\0", b"\5\0", b"\xff" * 12, b"\x65"):
        with pytest.raises(Corrupt, match="anchors"):
            list(decode_anchors(bad, 100))
