"""Rebuilding with a donor gives the same bits as without, whatever was edited between the two blobs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reducto.container import PlainReader
from reducto.errors import Corrupt
from reducto.gzip import Donor, GzipRecipe
from reducto.kernel.matching import AlignedRange
from tests.gzip import oracles, samples
from tests.gzip.helpers import PlainBytes, recipe_of, workers

#: Real encoders that defer matches, and one that does not, so that it cannot reuse tokens.
REUSING = [o for o in oracles.go_oracles() if o.version == "1.26" and o.level in ("level4", "level6", "level9")]
OTHER = [o for o in oracles.go_oracles() if o.version == "1.26" and o.level == "level2"]
SIX = next(o for o in REUSING if o.level == "level6")
PLAIN_BYTES = 2_300_000


@dataclass(frozen=True)
class Edited:
    """A newer blob, and its ranges that are aligned with the older one."""

    plain: bytes
    aligned: list[AlignedRange]


def edit(old: bytes, places: int, seed: int, resizing: float) -> Edited:
    """``old`` with bytes replaced at random places; a share ``resizing`` of them by more or fewer bytes."""
    rng = random.Random(seed)
    out, at, start, aligned = bytearray(), 0, (0, 0), []
    for cut in sorted(rng.randrange(len(old)) for _ in range(places)):
        if cut < at:
            continue
        out += old[at:cut]
        removed = min(rng.choice((1, 4, 12, 512, 3000)), len(old) - cut)
        added = rng.choice((rng.randbytes(removed), old[:removed], old[cut : cut + removed][::-1], bytes(removed)))
        at = cut + removed
        if rng.random() < resizing:
            aligned.append(AlignedRange(*start, len(out) - start[0]))
            out += added[rng.randrange(removed + 1) :] + rng.choice((b"", b"x", samples.words(4096)))
            start = (len(out), at)
        else:
            out += added
    out += old[at:]
    aligned.append(AlignedRange(*start, len(out) - start[0]))
    return Edited(bytes(out), aligned)


def rebuild_from(old_wire: bytes, old_plain: PlainReader, new_wire: bytes, edited: Edited) -> tuple[Donor, bytes]:
    """The donor, and the newer blob rebuilt with it."""
    donor = Donor(recipe_of(old_wire), memoryview(old_wire), old_plain, edited.aligned)
    return donor, rebuild_with(donor, recipe_of(new_wire), edited.plain)


def rebuild_with(donor: Donor, newer: GzipRecipe, plain: bytes) -> bytes:
    with workers() as submit:
        return b"".join(newer.rebuild(PlainBytes(plain), None, submit, lambda: donor))


@pytest.mark.parametrize("oracle", REUSING, ids=lambda oracle: oracle.name)
@pytest.mark.parametrize("resizing", [0, 0.2])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), places=st.integers(0, 60))
def test_whatever_was_edited_the_bits_are_the_same(
    oracle: oracles.Oracle, resizing: float, seed: int, places: int
) -> None:
    old = samples.mixed(PLAIN_BYTES, seed % 50)
    edited = edit(old, places, seed, resizing)
    new_wire = oracle.encode(edited.plain)
    _, rebuilt = rebuild_from(oracle.encode(old), PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire


@pytest.mark.integration
@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_kinds_of_content(kind) -> None:  # type: ignore[no-untyped-def]
    old = kind(PLAIN_BYTES)
    for places, resizing in ((0, 0), (40, 0), (40, 0.1)):
        edited = edit(old, places, 7, resizing)
        new_wire = SIX.encode(edited.plain)
        _, rebuilt = rebuild_from(SIX.encode(old), PlainBytes(old), new_wire, edited)
        assert rebuilt == new_wire


@pytest.mark.integration
def test_most_of_an_archive_is_rebuilt_with_the_donors_tokens() -> None:
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 30, 1, 0)
    new_wire = SIX.encode(edited.plain)
    donor, rebuilt = rebuild_from(SIX.encode(old), PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire
    assert donor.reused_bytes > 0.9 * len(old)


@pytest.mark.integration
@pytest.mark.parametrize("at", [0, 1, 2, 3, PLAIN_BYTES - 2, PLAIN_BYTES - 1])
def test_a_single_byte_at_either_end(at: int) -> None:
    old = samples.words(PLAIN_BYTES)
    edited = Edited(old[:at] + bytes([old[at] ^ 0x55]) + old[at + 1 :], [AlignedRange(0, 0, PLAIN_BYTES)])
    new_wire = SIX.encode(edited.plain)
    _, rebuilt = rebuild_from(SIX.encode(old), PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire


@pytest.mark.parametrize("oracle", OTHER, ids=lambda oracle: oracle.name)
def test_other_encoders_reuse_nothing(oracle: oracles.Oracle) -> None:
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 5, 1, 0)
    new_wire = oracle.encode(edited.plain)
    donor, rebuilt = rebuild_from(oracle.encode(old), PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire
    assert donor.reused_bytes == 0


@pytest.mark.integration
def test_an_older_blob_of_another_level_is_no_donor() -> None:
    old = samples.archive(PLAIN_BYTES, 5)
    edited = edit(old, 5, 1, 0)
    new_wire = SIX.encode(edited.plain)
    donor, rebuilt = rebuild_from(REUSING[-1].encode(old), PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire
    assert donor.reused_bytes == 0


@pytest.mark.integration
def test_an_older_blob_with_several_members_and_stored_blocks() -> None:
    parts = [samples.archive(900_000, 5), samples.noise(500_000), samples.archive(900_000, 6)]
    old_wire, old = b"".join(SIX.encode(part) for part in parts), b"".join(parts)
    edited = edit(old, 30, 3, 0)
    new_wire = SIX.encode(edited.plain)
    donor, rebuilt = rebuild_from(old_wire, PlainBytes(old), new_wire, edited)
    assert rebuilt == new_wire
    assert donor.reused_bytes > 0.5 * len(old)


@pytest.mark.integration
def test_a_donor_that_cannot_be_read_is_not_used() -> None:
    class Broken:
        reads = 0

        def read(self, plain_offset: int, length: int) -> memoryview:
            self.reads += 1
            raise Corrupt("the older blob's corpus is damaged")

    old, broken = samples.archive(PLAIN_BYTES, 5), Broken()
    new_wire = SIX.encode(old)
    donor, rebuilt = rebuild_from(new_wire, broken, new_wire, edit(old, 0, 1, 0))
    assert rebuilt == new_wire
    assert donor.reused_bytes == 0
    assert 1 <= broken.reads <= 2  # once by each worker
