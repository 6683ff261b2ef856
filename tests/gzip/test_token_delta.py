"""Rebuilding by a token delta gives the same bits as without, and a wrong delta does no harm."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reducto.errors import Corrupt
from reducto.gzip import Donor, TokenDelta, make_token_delta
from reducto.kernel.matching import AlignedRange
from tests.golden.tokens import make as golden
from tests.gzip import oracles, samples
from tests.gzip.helpers import PlainBytes, recipe_of
from tests.gzip.test_donor import OTHER, PLAIN_BYTES, REUSING, SIX, Edited, edit, rebuild_with

SMALL = TokenDelta(1000, 900, [AlignedRange(5, 7, 2048), AlignedRange(4000, 1, 4096)], [b"\x04", b"", b"\x09\x00\x00"])


def made(old_wire: bytes, new_wire: bytes, edited: Edited) -> TokenDelta | None:
    """The delta, written and read again."""
    older, newer = recipe_of(old_wire), recipe_of(new_wire)
    delta = make_token_delta(
        newer, memoryview(new_wire), PlainBytes(edited.plain), older, memoryview(old_wire), edited.aligned
    )
    return TokenDelta.from_bytes(delta.to_bytes()) if delta is not None else None


def rebuild_by(delta: TokenDelta, old_wire: bytes, new_wire: bytes, plain: bytes) -> tuple[Donor, bytes]:
    """The donor, and the newer blob rebuilt with it but without the older plain bytes."""
    newer = recipe_of(new_wire)
    donor = Donor(recipe_of(old_wire), memoryview(old_wire), None, delta.aligned, delta.by_segment_start(newer))
    return donor, rebuild_with(donor, newer, plain)


@pytest.mark.parametrize("oracle", REUSING, ids=lambda oracle: oracle.name)
@pytest.mark.parametrize("resizing", [0, 0.2])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), places=st.integers(0, 60))
def test_whatever_was_edited_the_bits_are_the_same(
    oracle: oracles.Oracle, resizing: float, seed: int, places: int
) -> None:
    old = samples.mixed(PLAIN_BYTES, seed % 50)
    edited = edit(old, places, seed, resizing)
    old_wire, new_wire = oracle.encode(old), oracle.encode(edited.plain)
    delta = made(old_wire, new_wire, edited)
    if delta is not None:
        _, rebuilt = rebuild_by(delta, old_wire, new_wire, edited.plain)
        assert rebuilt == new_wire


@pytest.mark.integration
@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_kinds_of_content(kind) -> None:  # type: ignore[no-untyped-def]
    old = kind(PLAIN_BYTES)
    old_wire = SIX.encode(old)
    for places, resizing in ((0, 0), (40, 0), (40, 0.1)):
        edited = edit(old, places, 7, resizing)
        new_wire = SIX.encode(edited.plain)
        delta = made(old_wire, new_wire, edited)
        # Stored blocks have no tokens, and behind an insertion long runs have other tokens.
        assert delta is not None or kind in (samples.noise, samples.constant)
        if delta is not None:
            _, rebuilt = rebuild_by(delta, old_wire, new_wire, edited.plain)
            assert rebuilt == new_wire


@pytest.mark.integration
def test_a_delta_is_small_and_stands_for_most_of_the_blob() -> None:
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 30, 1, 0)
    old_wire, new_wire = SIX.encode(old), SIX.encode(edited.plain)
    delta = made(old_wire, new_wire, edited)
    assert delta is not None
    donor, rebuilt = rebuild_by(delta, old_wire, new_wire, edited.plain)
    assert rebuilt == new_wire
    assert donor.reused_bytes > 0.9 * len(old)
    assert len(delta.to_bytes()) < 0.01 * len(new_wire)


@pytest.mark.integration
def test_several_members_and_stored_blocks() -> None:
    parts = [samples.archive(900_000, 5), samples.noise(500_000), samples.archive(900_000, 6)]
    old_wire, old = b"".join(SIX.encode(part) for part in parts), b"".join(parts)
    edited = edit(old, 30, 3, 0)
    new_wire = SIX.encode(edited.plain)
    delta = made(old_wire, new_wire, edited)
    assert delta is not None
    _, rebuilt = rebuild_by(delta, old_wire, new_wire, edited.plain)
    assert rebuilt == new_wire


@pytest.mark.parametrize("oracle", [*OTHER, REUSING[-1]], ids=lambda oracle: oracle.name)
def test_there_is_none_against_another_encoder_or_level(oracle: oracles.Oracle) -> None:
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 5, 1, 0)
    assert made(oracle.encode(old), SIX.encode(edited.plain), edited) is None


@pytest.mark.integration
def test_there_is_none_where_little_is_the_same() -> None:
    old, new = samples.archive(PLAIN_BYTES, 5), samples.archive(PLAIN_BYTES, 6)
    at = PLAIN_BYTES - 100_000
    same = Edited(new[:at] + old[at:], [AlignedRange(at, at, 100_000)])
    assert made(SIX.encode(old), SIX.encode(same.plain), same) is None


def test_a_damaged_delta_is_refused() -> None:
    data = SMALL.to_bytes()
    assert TokenDelta.from_bytes(data) == SMALL
    for at in range(len(data)):
        with pytest.raises(Corrupt):
            TokenDelta.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(Corrupt, match="newer Reducto"):
        TokenDelta.from_bytes(data[:8] + b"\x02" + data[9:])


@pytest.mark.integration
def test_a_delta_of_another_blob_is_refused() -> None:
    wire = SIX.encode(samples.words(100_000))
    with pytest.raises(Corrupt, match="another blob"):
        SMALL.by_segment_start(recipe_of(wire))


@pytest.mark.integration
def test_deltas_that_do_not_fit_are_not_used() -> None:
    """Random steps either do not fit the segment, which is then rebuilt without them, or give other bits."""
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 10, 1, 0)
    old_wire, new_wire = SIX.encode(old), SIX.encode(edited.plain)
    good = made(old_wire, new_wire, edited)
    assert good is not None
    rng, exact = random.Random(4), 0
    for _ in range(40):
        deltas = [rng.randbytes(rng.randrange(1, 40)) for _ in good.deltas]
        forged = TokenDelta(good.wire_length, good.donor_wire_length, good.aligned, deltas)
        try:
            _, rebuilt = rebuild_by(forged, old_wire, new_wire, edited.plain)
        except Corrupt:
            continue
        exact += rebuilt == new_wire
    assert exact


def test_the_golden_delta_still_rebuilds() -> None:
    newer = (golden.HERE / "newer.gz").read_bytes()
    delta = TokenDelta.from_bytes((golden.HERE / "newer.delta").read_bytes())
    steps = b"".join(delta.deltas)
    assert {step & 3 for step in steps} >= {0, 1, 2}
    donor, rebuilt = rebuild_by(delta, golden.OLDER.read_bytes(), newer, golden.newer_plain())
    assert rebuilt == newer
    assert donor.precomputed_bytes > 0.9 * len(golden.newer_plain())


def test_deltas_are_made_as_on_the_day_of_the_golden_one() -> None:
    """If this fails, the golden file no longer shows what is stored today: add another one."""
    newer = (golden.HERE / "newer.gz").read_bytes()
    assert golden.delta_of(newer) == TokenDelta.from_bytes((golden.HERE / "newer.delta").read_bytes())
