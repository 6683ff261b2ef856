"""klauspost/compress, pgzip and Go 1.27: real encoders against the models."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reducto.kernel import gzip as kernel
from tests.gzip import oracles, oracles_klauspost, samples
from tests.gzip.helpers import assert_exact, workers

ORACLES = [*oracles_klauspost.klauspost_oracles(), *oracles_klauspost.go_oracles()]
#: The releases in Debian's podman, buildah and skopeo, and the newest.
RELEASES = {"klauspost": "1.15.12", "pgzip": "1.15.12", "go": "1.27"}
CURRENT = [oracle for oracle in ORACLES if oracle.version == RELEASES[oracle.encoder]]
DEFAULTS = [oracle for oracle in CURRENT if oracle.level in ("level1", "level5", "level6")]
#: Lengths at which something in the encoders changes: tiny input, chunks and their margins, pgzip's tails.
TINY = (0, 1, 12, 13, 32, 33, 127, 128, 129, 1025)
LENGTHS = (*TINY, 16_384, 16_385, 65_534, 65_535, 65_536, 65_567, 65_568, 65_663, 131_070, 131_071)
MIB = 1 << 20
BLOCK_LENGTHS = (MIB - 1, MIB, MIB + 1, MIB + 16_384, MIB + 16_385, 2 * MIB, 2 * MIB + 100)
SIMULATED = ("level1", "level2", "level3", "level4")


def by_name(oracle: oracles.Oracle) -> str:
    """For test ids."""
    return oracle.name


def model_rebuilds(name: str, plain: bytes, wire: bytes) -> bool:
    """Whether this very model makes the whole stream without corrections. Short files fit many models."""
    inflater, at, out = kernel.Inflater(), 10, bytearray(len(plain) + 1024)  # no encoder here writes a longer header
    status, end, used = inflater.run(bytearray(wire), at, out, 0)
    assert (status, used) == (kernel.DONE, len(plain))
    shape = kernel.SegmentShape(0, len(plain), 0, True, True, 0, 8 * (end - at) + inflater.bit)
    model_id = next(model.model_id for model in kernel.models().values() if model.name == name)
    return kernel.rebuild_segment(shape, plain, model_id, 0, b"") == wire[at : len(wire) - 8]


@pytest.mark.parametrize("oracle", ORACLES, ids=by_name)
def test_archive_is_exact_without_corrections(oracle: oracles.Oracle) -> None:
    plain = samples.archive(3_000_000)
    # Without compression, Go 1.27 and the releases before it differ only in the last block.
    name = None if oracle.name == "go-1.27-level0" else oracle.model
    assert assert_exact(name, plain, oracle.encode(plain)).correction_bytes == 0


@pytest.mark.parametrize("oracle", CURRENT, ids=by_name)
@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_edge_lengths_are_exact(oracle: oracles.Oracle, kind) -> None:
    for length in LENGTHS:
        plain = kind(200_000)[:length]
        wire = oracle.encode(plain)
        assert model_rebuilds(oracle.model, plain, wire), length


@pytest.mark.parametrize("oracle", [oracle for oracle in CURRENT if oracle.encoder == "pgzip"], ids=by_name)
def test_pgzip_blocks_of_every_end_are_exact(oracle: oracles.Oracle) -> None:
    for length in BLOCK_LENGTHS:
        plain = samples.archive(2_200_000, 9)[:length]
        wire = oracle.encode(plain)
        assert model_rebuilds(oracle.model, plain, wire), length
        assert assert_exact(None, plain, wire, seed=length).correction_bytes == 0, length


@pytest.mark.parametrize("oracle", CURRENT, ids=by_name)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(length=st.integers(0, 2_500_000), seed=st.integers(0, 50))
@example(length=1_079_450, seed=27)
def test_random_mixtures_are_exact(oracle: oracles.Oracle, length: int, seed: int) -> None:
    plain = samples.mixed(2_500_000, seed)[:length]
    wire = oracle.encode(plain)
    assert model_rebuilds(oracle.model, plain, wire)
    exact = assert_exact(None, plain, wire, seed=seed)
    # Short files fit several models, of which the classifier takes a likely one. And a segment within a stream begins
    # by simulating what came before it, which may need a correction; at the fast levels, pgzip's excepted, several.
    later = sum(len(member.segments) - 1 for member in exact.recipe.members) if exact.correction_bytes else 0
    budget = 16 + 24 * later
    if oracle.encoder != "pgzip" and oracle.level in SIMULATED:
        budget += len(plain) // 1000
    assert exact.correction_bytes <= budget


@pytest.mark.parametrize("kind", [samples.constant, samples.sparse, samples.noise], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("oracle", DEFAULTS, ids=by_name)
def test_monotonous_megabytes_are_exact(oracle: oracles.Oracle, kind) -> None:
    plain = kind(6_000_000)
    wire = oracle.encode(plain)
    assert model_rebuilds(oracle.model, plain, wire)
    assert assert_exact(None, plain, wire).correction_bytes == 0


@pytest.mark.parametrize("oracle", [oracle for oracle in CURRENT if oracle.level == "level5"], ids=by_name)
def test_more_than_one_segment_with_workers(oracle: oracles.Oracle) -> None:
    plain = samples.archive(9_000_000, 6)
    with workers() as submit:
        exact = assert_exact(oracle.model, plain, oracle.encode(plain), submit=submit)
    assert exact.correction_bytes == 0
    assert len(exact.recipe.members[0].segments) >= 4


@pytest.mark.integration
@pytest.mark.parametrize("encoder", ["gzip", "pgzip"])
@pytest.mark.parametrize("write_bytes", [512, 40_000, 1 << 20])
def test_write_size_does_not_matter(encoder: str, write_bytes: int) -> None:
    plain = samples.archive(2_000_000, 7)
    wire = run(encoder, -1, write_bytes, plain=plain)
    name = "klauspost" if encoder == "gzip" else "pgzip"
    assert assert_exact(f"{name}-1.15.11-level-5", plain, wire).correction_bytes == 0


@pytest.mark.integration
@pytest.mark.parametrize("encoder", ["gzip", "pgzip"])
@pytest.mark.parametrize("level", [1, 5, 6])
def test_flushed_streams_cost_little(encoder: str, level: int) -> None:
    plain = samples.archive(2_000_000, 8)
    wire = run(encoder, level, 32_768, 200_000, plain=plain)
    assert assert_exact(None, plain, wire).recipe_bytes < len(wire) / 200


def run(encoder: str, *arguments: int, plain: bytes) -> bytes:
    """The oracle of Debian's release with further arguments."""
    binary = oracles_klauspost.binary("1.15.12")
    if binary is None:
        pytest.skip("klauspost/compress 1.15.12 is missing: python -m tests.gzip.fetch_oracles")
    command = [str(binary), encoder, *map(str, arguments)]
    return subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout


def family_ids() -> dict[str, int]:
    """The ids are stored, so their numbers never change."""
    ids = {"klauspost-1.15.0-level-4": 0x0204, "klauspost-1.18.0-level-4": 0x0214}
    ids |= {f"klauspost-1.15.11-level-{level}": 0x0200 + level for level in (1, 2, 3, 5, 6)}
    ids |= {f"klauspost-1.15.0-level-{level}": 0x0230 + level for level in (1, 2, 3, 5, 6, 7, 8, 9)}
    ids |= {f"klauspost-1.16.0-level-{level}": 0x0210 + level for level in (7, 8, 9)}
    ids |= {"klauspost-1.15.0-level-0": 0x0200, "klauspost-1.15.0-huffman-only": 0x020A}
    pgzip = {name.replace("klauspost", "pgzip"): number + 0x80 for name, number in ids.items()}
    newest = {f"pgzip-1.18.2-level-{level}": 0x02A0 + level for level in range(1, 10)}
    return ids | pgzip | newest | {f"go-1.27-level-{level}": 0x0300 + level for level in range(1, 10)}


def test_ids_are_frozen() -> None:
    ids = {model.name: model.model_id for model in kernel.models().values()}
    assert {name: ids.get(name) for name in family_ids()} == family_ids()
    assert all(not name.startswith(("klauspost-", "pgzip-", "go-1.27-")) or name in family_ids() for name in ids)


def test_every_model_has_an_oracle() -> None:
    assert {oracle.model for oracle in ORACLES} == set(family_ids())
