"""zlib and the encoders that come from it: the real encoders against the models."""

from __future__ import annotations

import subprocess
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reducto.kernel.gzip import models
from tests.gzip import oracles, oracles_zlib, samples
from tests.gzip.helpers import assert_exact, workers
from tests.support.requirements import require_tool

ORACLES = oracles_zlib.all_of_zlib()
#: Window sizes and strategies differ only in parameters, so the long tests take a few of them.
MAIN = [oracle for oracle in ORACLES if oracle.level[-1] in "169" and "window" not in oracle.level]
#: Lengths at which something in the encoders changes: margins, windows, the moving of the window, full blocks.
LENGTHS = (
    *(0, 1, 2, 3, 4, 5, 12, 258, 259, 261, 262, 263, 4096, 4097, 16_382, 16_383, 16_384, 32_505, 32_506, 32_507),
    *(32_766, 32_767, 32_768, 65_012, 65_273, 65_274, 65_275, 65_535, 65_536, 98_042, 131_072, 131_073),
)


#: The id of each series' level 0. Ids are stored, so they never change.
FROZEN_IDS = {
    **{"zlib-level-": 0x0400, "zlib-filtered-level-": 0x0410, "zlib-fixed-level-": 0x0420},
    **{f"zlib-window-{bits}-level-": 0x0400 + 16 * bits for bits in range(9, 15)},
    **{"gnu-gzip-level-": 0x0500, "gnu-gzip-rsyncable-level-": 0x0510, "chromium-zlib-level-": 0x0680},
    **{"pigz-level-": 0x0580, "pigz-single-thread-level-": 0x0590, "pigz-independent-level-": 0x05A0},
    **{"pigz-rsyncable-level-": 0x05B0, "pigz-rsyncable-independent-level-": 0x05C0},
}


def test_ids_are_frozen() -> None:
    ids = {model.name: model.model_id for model in models().values()}
    assert (ids["zlib-huffman-only"], ids["zlib-rle"]) == (0x0430, 0x0431)
    for oracle in ORACLES:
        series = oracle.model.rstrip("0123456789")
        if series in FROZEN_IDS:
            assert ids[oracle.model] == FROZEN_IDS[series] + int(oracle.model[-1])


def test_every_model_has_an_oracle() -> None:
    families = ("zlib-", "gnu-gzip-", "pigz-", "chromium-")
    covered = {oracle.model for oracle in ORACLES}
    assert {model.name for model in models().values() if model.name.startswith(families)} == covered


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.name)
def test_archive_is_exact_without_corrections(oracle: oracles.Oracle) -> None:
    plain = samples.archive(1_500_000)
    exact = assert_exact(oracle.model, plain, oracle.encode(plain))
    assert exact.correction_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize("oracle", MAIN, ids=lambda oracle: oracle.name)
@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_edge_lengths_are_exact(oracle: oracles.Oracle, kind) -> None:
    if oracle.encoder in ("java", "node"):
        pytest.skip("starting the virtual machine for every length takes too long; random mixtures cover it")
    for length in LENGTHS:
        plain = kind(200_000)[:length]
        exact = assert_exact(None, plain, oracle.encode(plain), seed=length)
        assert exact.correction_bytes == 0, length


@pytest.mark.parametrize("oracle", MAIN, ids=lambda oracle: oracle.name)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(length=st.integers(0, 2_500_000), seed=st.integers(0, 50))
def test_random_mixtures_are_exact(oracle: oracles.Oracle, length: int, seed: int) -> None:
    plain = samples.mixed(2_500_000, seed)[:length]
    wire = oracle.encode(plain)
    exact = assert_exact(None, plain, wire, seed=seed)
    # Where no job of pigz leaves a marker, the ends of its jobs cannot be seen and may need corrections.
    assert exact.correction_bytes <= (64 + len(wire) // 1_000 if oracle.encoder == "pigz" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("memory", range(1, 10))
def test_memory_level_is_read_off_the_blocks(level: int, memory: int) -> None:
    plain = samples.archive(600_000)
    wire = oracles_zlib.deflate(level, memory=memory)(plain)
    assert assert_exact(f"zlib-level-{level}", plain, wire).correction_bytes == 0


@pytest.mark.parametrize("every", [512, 8_192, 10_240, 32_768, 100_000])
@pytest.mark.parametrize("level", [1, 6])
def test_write_size_does_not_matter(level: int, every: int) -> None:
    plain = samples.archive(2_000_000, 7)
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    wire = b"".join(compressor.compress(plain[at : at + every]) for at in range(0, len(plain), every))
    assert assert_exact(f"zlib-level-{level}", plain, wire + compressor.flush()).correction_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH], ids=str)
@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_flushed_streams_cost_little(level: int, mode: int) -> None:
    plain = samples.archive(2_000_000, 8)
    wire = oracles_zlib.flushed(level, 200_000, mode)(plain)
    assert assert_exact(None, plain, wire).recipe_bytes < len(wire) / 100


@pytest.mark.integration
@pytest.mark.parametrize("block_kib", [32, 64, 128, 256, 1000])
@pytest.mark.parametrize("level", [1, 6])
def test_any_block_size_of_pigz(level: int, block_kib: int) -> None:
    require_tool("pigz")
    plain = samples.archive(5_000_000, 9)
    command = ["pigz", "-nc", "-p2", f"-{level}", "-b", str(block_kib)]
    wire = subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout
    assert assert_exact(f"pigz-level-{level}", plain, wire).correction_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "oracle",
    [oracles.named(f"{encoder}-level{level}") for encoder in ("zlib", "gnu-gzip", "pigz") for level in (1, 6)],
    ids=lambda oracle: oracle.name,
)
def test_segments_restart_without_corrections(oracle: oracles.Oracle) -> None:
    plain = samples.archive(9_000_000, 6)
    with workers() as submit:
        exact = assert_exact(oracle.model, plain, oracle.encode(plain), submit=submit)
    assert len(exact.recipe.members[0].segments) >= 2
    assert exact.correction_bytes == 0
