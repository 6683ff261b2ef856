"""Rebuilding a range reads the plain bytes of its segments and one warm-up, and not the whole layer."""

from __future__ import annotations

import pytest

from reducto.gzip import GzipRecipe
from reducto.kernel.gzip import models
from reducto.values import ByteRange
from tests.gzip import oracles, samples
from tests.gzip.helpers import PlainBytes, read_container, workers

NAMES = (
    *("go-1.26-level1", "go-1.26-level6", "go-1.27-level1", "go-1.27-level6", "pgzip-1.15.12-level5"),
    *("zlib-level1", "zlib-level6", "gnu-gzip-level1", "pigz-level1", "pigz-level6"),
)


@pytest.mark.slow
@pytest.mark.parametrize("oracle", [oracles.named(name) for name in NAMES], ids=lambda oracle: oracle.name)
def test_range_from_the_middle_rebuilds_one_segment_before_its_first_byte(oracle: oracles.Oracle) -> None:
    part = samples.archive(3_000_000, 21)
    plain = b"".join(bytes([number]) * 1000 + part for number in range(10))
    wire = oracle.encode(plain)
    with workers() as submit:
        recipe, _ = read_container(wire, submit=submit)
    assert isinstance(recipe, GzipRecipe)
    model = next(model for model in models().values() if model.name == recipe.encoder)
    middle = len(wire) // 2
    source = PlainBytes(plain)
    first = next(iter(recipe.rebuild(source, ByteRange(middle, min(middle + (8 << 20), len(wire))))))
    assert wire[middle : middle + len(first)] == first
    longest = max(segment.plain_length for segment in recipe.members[0].segments)
    assert longest < model.segment_bytes + (2 << 20)
    assert source.read_bytes <= longest + model.warmup_bytes + model.lookahead_bytes
    assert source.lowest > len(plain) // 4


@pytest.mark.integration
def test_every_segment_can_be_begun_at_any_of_its_bytes() -> None:
    oracle = oracles.named("go-1.26-level6")
    plain = samples.archive(3_000_000, 22) + samples.archive(3_000_000, 21)[:2_000_000]
    wire = oracle.encode(plain)
    recipe, _ = read_container(wire)
    assert isinstance(recipe, GzipRecipe)
    bit, starts = 80, []
    for segment in recipe.members[0].segments:
        starts.append(bit // 8)
        bit += segment.wire_bits
    for start in starts:
        for at in (start - 1, start, start + 1):
            if at >= 0:
                span = ByteRange(at, min(at + 3, len(wire)))
                assert b"".join(recipe.rebuild(PlainBytes(plain), span)) == wire[span.start : span.stop]


@pytest.mark.integration
def test_abandoned_rebuild_leaves_no_work_behind() -> None:
    oracle = oracles.named("go-1.26-level6")
    plain = samples.archive(3_000_000, 22) + samples.archive(3_000_000, 21)[:2_000_000]
    wire = oracle.encode(plain)
    recipe, _ = read_container(wire)
    assert isinstance(recipe, GzipRecipe)
    with workers(1) as submit:
        pieces = recipe.rebuild(PlainBytes(plain), submit=submit)
        assert wire.startswith(next(iter(pieces)))
        pieces.close()  # type: ignore[attr-defined]


@pytest.mark.integration
def test_workers_that_read_do_not_wait_for_each_other() -> None:
    """Readers and planners on the pool that they submit to must not wait for tasks that cannot start."""
    oracle = oracles.named("go-1.26-level6")
    plain = samples.archive(3_000_000, 23) * 3
    wire = oracle.encode(plain)
    with workers(2) as submit:
        encoders = [submit(read_container, wire, submit=submit) for _ in range(3)]
        recipes = [encoder.result(timeout=300)[0] for encoder in encoders]

        def read(recipe: GzipRecipe) -> bytes:
            return b"".join(recipe.rebuild(PlainBytes(plain), submit=submit))

        readers = [submit(read, recipe) for recipe in recipes if isinstance(recipe, GzipRecipe)]
        assert [reader.result(timeout=300) == wire for reader in readers] == [True] * 3
