"""Go 1.19 to 1.26: real toolchains against the models."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gzip import oracles, samples
from tests.gzip.helpers import assert_exact, workers

ORACLES = list(oracles.go_oracles())
CURRENT = [oracle for oracle in ORACLES if oracle.version == "1.26"]
#: Lengths at which something in the encoder changes: chunks, windows, slides, blocks, small tails.
LENGTHS = (0, 1, 3, 4, 5, 16, 17, 127, 128, 129, 261, 262, 263, 65_273, 65_274, 65_535, 65_536, 65_551, 65_663, 131_070)


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.name)
def test_archive_is_exact_without_corrections(oracle: oracles.Oracle) -> None:
    plain = samples.archive(3_000_000)
    exact = assert_exact(None if oracle.level in ("level8", "level9") else oracle.model, plain, oracle.encode(plain))
    assert exact.correction_bytes == 0


@pytest.mark.parametrize("oracle", CURRENT, ids=lambda oracle: oracle.name)
@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_edge_lengths_are_exact(oracle: oracles.Oracle, kind) -> None:
    for length in LENGTHS:
        plain = kind(200_000)[:length]
        assert assert_exact(None, plain, oracle.encode(plain), seed=length).correction_bytes == 0, length


@pytest.mark.parametrize("oracle", CURRENT, ids=lambda oracle: oracle.name)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(length=st.integers(0, 2_500_000), seed=st.integers(0, 50))
def test_random_mixtures_are_exact(oracle: oracles.Oracle, length: int, seed: int) -> None:
    plain = samples.mixed(2_500_000, seed)[:length]
    exact = assert_exact(None, plain, oracle.encode(plain), seed=seed)
    # Levels 1 to 3 begin a segment by simulating what came before it; on mixed data that may need a few corrections.
    budget = 0 if oracle.level not in ("level1", "level2", "level3") else len(plain) // 1000
    assert exact.correction_bytes <= budget


@pytest.mark.integration
def test_more_than_one_segment_with_workers() -> None:
    plain = samples.archive(9_000_000, 6)
    oracle = next(oracle for oracle in CURRENT if oracle.level == "level6")
    with workers() as submit:
        exact = assert_exact("go-1.19-level-6", plain, oracle.encode(plain), submit=submit)
    assert len(exact.recipe.members[0].segments) >= 8


@pytest.mark.integration
@pytest.mark.parametrize("level", [1, 6])
@pytest.mark.parametrize("write_bytes", [512, 4096, 40_000, 1 << 20])
def test_write_size_does_not_matter(level: int, write_bytes: int) -> None:
    plain = samples.archive(2_000_000, 7)
    binary = oracles.go_binary("1.26")
    if binary is None:
        pytest.skip("Go 1.26 is missing")
    wire = subprocess.run(
        [binary, str(level), str(write_bytes)], input=plain, stdout=subprocess.PIPE, check=True
    ).stdout
    assert assert_exact(f"go-1.19-level-{level}", plain, wire).correction_bytes <= 16


@pytest.mark.integration
@pytest.mark.parametrize("level", [-2, 0, 1, 2, 6, 9])
def test_flushed_streams_cost_little(level: int) -> None:
    plain = samples.archive(2_000_000, 8)
    binary = oracles.go_binary("1.26")
    if binary is None:
        pytest.skip("Go 1.26 is missing")
    command = [binary, str(level), "32768", "200000"]
    wire = subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout
    assert assert_exact(None, plain, wire).recipe_bytes < len(wire) / 200
