"""The names, levels and reasons that users see."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reducto.gzip import identify
from reducto.kernel._lib import lib
from reducto.kernel.gzip import models
from reducto.values import Reason
from tests.gzip import samples

GOLDEN = Path(__file__).parent.parent / "golden" / "gzip"


@pytest.mark.parametrize("level", range(10))
def test_go_files_are_named(level: int) -> None:
    wire = (GOLDEN / f"go-1.26-level{level}.gz").read_bytes()
    found = identify([wire[:5], wire[5:]])
    assert (found.encoder, found.level) == (f"go-1.19-level-{level}", level)
    assert (found.confidence, found.mispredictions, found.stored) == (1.0, 0, None)
    assert found.wire_bytes == len(wire)
    assert found.plain_bytes == len(gzip.decompress(wire))
    assert found.recipe_bytes < 100


def test_what_no_model_makes_has_a_reason() -> None:
    """A stream that no encoder writes: literals only, in fixed blocks of odd sizes."""
    wire = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    plain = samples.words(200_000)
    for at in range(0, len(plain), 777):
        piece = plain[at : at + 777]
        wire += b"\0" + len(piece).to_bytes(2, "little") + (len(piece) ^ 0xFFFF).to_bytes(2, "little") + piece
    found = identify([bytes(wire) + b"\x03\0" + bytes(8)])
    if found.stored is not None:
        assert found.stored.reason in (Reason.NO_ENCODER_MODEL, Reason.RECIPE_TOO_LARGE)
        assert found.encoder is None
    else:
        assert found.recipe_bytes < len(wire) // 100


def test_every_model_name_and_id_is_unique() -> None:
    names = [model.name for model in models().values()]
    assert len(set(names)) == len(names)
    assert len(models()) == lib.rdk_model_count()
