"""The bytes at hand while a gzip blob is read, and where its blocks begin."""

from __future__ import annotations

import random
import zlib

import pytest

from reducto.gzip.block_starts import Boundaries
from reducto.gzip.wire_buffer import Window
from reducto.kernel import gzip as kernel
from tests.gzip import samples


@pytest.mark.parametrize("seed", range(50))
def test_a_window_is_the_stream_without_what_was_given_up(seed: int) -> None:
    rng = random.Random(seed)
    window, expect = Window(), b""
    for _ in range(200):
        piece = rng.randbytes(rng.randrange(rng.choice([1, 50, 5000])))
        window.add(memoryview(piece) if rng.random() < 0.5 else piece)
        expect += piece
        assert window.view() == expect
        if rng.random() < 0.7:
            drop = len(expect) if rng.random() < 0.1 else rng.randrange(len(expect) + 1)
            window.drop(drop)
            expect = expect[drop:]
        assert len(window) == len(expect)
        low, high = sorted(rng.randrange(len(expect) + 1) for _ in range(2))
        assert window.view(low, high) == expect[low:high]


def test_an_empty_window() -> None:
    window = Window()
    assert (len(window), bytes(window.view())) == (0, b"")
    window.add(b"")
    window.drop(0)
    assert bytes(window.view()) == b""
    window.add(b"abc")
    window.drop(3)
    assert bytes(window.view()) == b""


def test_boundaries() -> None:
    found = Boundaries()
    found.add((8).to_bytes(8, "little") + (99).to_bytes(8, "little"), bytes(8) + (70).to_bytes(8, "little"))
    found.append(120, 80)
    assert [found[at] for at in range(len(found))] == [(8, 0), (99, 70), (120, 80)]
    found.drop(2)
    assert (len(found), found[0]) == (1, (120, 80))


def test_blocks_are_told_once_however_the_stream_is_cut() -> None:
    plain = samples.archive(600_000)
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    wire = encoder.compress(plain) + encoder.flush()

    def blocks(piece_bytes: int) -> list[tuple[int, int]]:
        inflater, room, found = kernel.Inflater(), bytearray(len(plain) + 1024), Boundaries()
        at = used = stop = 0
        status = kernel.NEEDS_INPUT
        while status == kernel.NEEDS_INPUT:
            stop = min(stop + piece_bytes, len(wire))
            status, at, used = inflater.run(wire[:stop], at, room, used)
            found.add(*inflater.entered())
        assert (status, bytes(room[:used])) == (kernel.DONE, plain)
        return [found[index] for index in range(len(found))]

    whole = blocks(len(wire))
    assert whole[0] == (0, 0)
    assert len(whole) > 5
    assert whole == sorted(set(whole))
    assert blocks(977) == whole
