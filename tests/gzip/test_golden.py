"""Golden files: if a model or the recipe format changed, stored layers could not be read."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from reducto.gzip import GzipRecipe, recipe_from_bytes
from reducto.kernel.gzip import models
from tests.gzip import oracles
from tests.gzip.helpers import PlainBytes, read_container

GOLDEN = Path(__file__).parent.parent / "golden" / "gzip"
FILES = sorted(GOLDEN.glob("*.gz"))
#: Ids are stored: a name may be corrected, a number may not change.
FROZEN_IDS = {
    "go-1.19-level-0": 0x0100, "go-1.19-level-1": 0x0101, "go-1.19-level-2": 0x0102, "go-1.19-level-3": 0x0103,
    "go-1.19-level-4": 0x0104, "go-1.19-level-5": 0x0105, "go-1.19-level-6": 0x0106, "go-1.19-level-7": 0x0107,
    "go-1.19-level-8": 0x0108, "go-1.19-level-9": 0x0109, "go-1.19-huffman-only": 0x010A,
}  # fmt: skip


def plain_of(wire: bytes) -> bytes:
    """All members inflated by zlib."""
    out = bytearray()
    while wire[:2] == b"\x1f\x8b":
        inflater = zlib.decompressobj(31)
        out += inflater.decompress(wire)
        wire = inflater.unused_data
    return bytes(out)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_recipe_still_rebuilds(path: Path) -> None:
    wire = path.read_bytes()
    recipe = recipe_from_bytes(path.with_suffix(".recipe").read_bytes())
    assert b"".join(recipe.rebuild(PlainBytes(plain_of(wire)))) == wire


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_classifier_finds_an_equally_small_recipe(path: Path) -> None:
    outcome, plain = read_container(path.read_bytes())
    assert isinstance(outcome, GzipRecipe)
    assert plain == plain_of(path.read_bytes())
    assert len(outcome.to_bytes()) <= path.with_suffix(".recipe").stat().st_size + 8


def test_ids_are_frozen() -> None:
    ids = {model.name: model.model_id for model in models().values()}
    assert {name: ids.get(name) for name in FROZEN_IDS} == FROZEN_IDS


def test_every_model_has_a_golden_file_or_an_oracle() -> None:
    covered = {oracle.model for oracle in oracles.all_oracles()}
    missing = [
        model.name for model in models().values() if model.name.startswith("go-1.19-") and model.name not in covered
    ]
    assert not missing
