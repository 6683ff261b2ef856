"""Which model is chosen, also where a stream begins with bytes that fit many, or has parts by several encoders."""

from __future__ import annotations

import gzip
import time

import pytest

from reducto.gzip import GzipRecipe
from tests.gzip import oracles, samples
from tests.gzip.helpers import assert_exact, read_container, workers

#: Some of each family, among them levels with the same header.
NAMES = (
    *("go-1.26-level0", "go-1.26-level3", "go-1.26-level5", "go-1.26-level6", "go-1.27-level1", "go-1.27-level6"),
    *("klauspost-1.15.12-level4", "pgzip-1.15.12-level5", "pgzip-1.18.0-level2"),
    *("gnu-gzip-level4", "gnu-gzip-level9", "pigz-level6", "pigz-independent-level6"),
    *("zlib-level2", "zlib-level5", "zlib-level7"),
)
SOME = [oracles.named(name) for name in NAMES]
LONG = [oracles.named(f"{name}-level1") for name in ("pgzip-1.15.12", "pigz", "go-1.27")]
LONG.append(oracles.named("pgzip-1.15.12-level5"))


@pytest.mark.slow
@pytest.mark.parametrize("oracle", SOME, ids=lambda oracle: oracle.name)
@pytest.mark.parametrize("quiet", [samples.noise, samples.constant], ids=lambda kind: kind.__name__)
def test_a_beginning_that_tells_nothing_costs_little(oracle: oracles.Oracle, quiet) -> None:
    """Layers that begin with archives or empty disk space fit many models until other bytes follow."""
    plain = quiet(6_000_000) + samples.archive(3_000_000)
    with workers() as submit:
        exact = assert_exact(None, plain, oracle.encode(plain), submit=submit)
    assert exact.corrected_segments <= 1
    assert exact.recipe_bytes < 1000


@pytest.mark.integration
@pytest.mark.parametrize("kind", [samples.words, samples.noise, samples.archive], ids=lambda kind: kind.__name__)
def test_members_by_many_encoders_need_no_corrections(kind) -> None:
    parts, wire = [], b""
    for number, oracle in enumerate(SOME):
        part = kind(90_000, 30 + number)
        parts.append(part)
        wire += oracle.encode(part)
    assert assert_exact(None, b"".join(parts), wire).correction_bytes == 0


@pytest.mark.parametrize("length", [0, 100, 20_000, 5_000_000])
def test_naming_an_encoder_costs_little_time(length: int) -> None:
    """Choosing takes at most 0.1 s more than planning, for small and incompressible blobs, too."""
    wire = gzip.compress(samples.noise(length), 6)
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        outcome, _ = read_container(wire, seed=1)
        seconds.append(time.thread_time() - start)
    assert isinstance(outcome, GzipRecipe)
    assert min(seconds) < 0.1 + length / 10e6


@pytest.mark.parametrize("oracle", LONG, ids=lambda oracle: oracle.name)
def test_long_streams_are_cut_into_segments(oracle: oracles.Oracle) -> None:
    """A blob longer than the window, with empty blocks where segments may end."""
    plain = samples.archive(3_000_000) * 10
    with workers() as submit:
        exact = assert_exact(oracle.model, plain, oracle.encode(plain), submit=submit)
    assert len(exact.recipe.members[0].segments) >= 6
    assert exact.recipe_bytes < 3000
