"""The wire bytes that are kept while a gzip blob is read, and where its blocks begin."""

from __future__ import annotations

import random
import zlib

import pytest

from reducto.gzip.block_starts import BlockStarts
from reducto.gzip.wire_buffer import WireBuffer
from reducto.kernel import gzip as kernel
from tests.gzip import samples


@pytest.mark.parametrize("seed", range(50))
def test_a_buffer_is_the_stream_without_what_was_dropped(seed: int) -> None:
    rng = random.Random(seed)
    buffer, expect = WireBuffer(), b""
    for _ in range(200):
        piece = rng.randbytes(rng.randrange(rng.choice([1, 50, 5000])))
        buffer.add(memoryview(piece) if rng.random() < 0.5 else piece)
        expect += piece
        assert buffer.view() == expect
        if rng.random() < 0.7:
            drop = len(expect) if rng.random() < 0.1 else rng.randrange(len(expect) + 1)
            buffer.drop(drop)
            expect = expect[drop:]
        assert len(buffer) == len(expect)
        low, high = sorted(rng.randrange(len(expect) + 1) for _ in range(2))
        assert buffer.view(low, high) == expect[low:high]


def test_an_empty_buffer() -> None:
    buffer = WireBuffer()
    assert (len(buffer), bytes(buffer.view())) == (0, b"")
    buffer.add(b"")
    buffer.drop(0)
    assert bytes(buffer.view()) == b""
    buffer.add(b"abc")
    buffer.drop(3)
    assert bytes(buffer.view()) == b""


def test_block_starts() -> None:
    found = BlockStarts()
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
        inflater, out, found = kernel.Inflater(), bytearray(len(plain) + 1024), BlockStarts()
        at = used = stop = 0
        status = kernel.NEEDS_INPUT
        while status == kernel.NEEDS_INPUT:
            stop = min(stop + piece_bytes, len(wire))
            status, at, used = inflater.run(wire[:stop], at, out, used)
            found.add(*inflater.entered())
        assert (status, bytes(out[:used])) == (kernel.DONE, plain)
        return [found[index] for index in range(len(found))]

    whole = blocks(len(wire))
    assert whole[0] == (0, 0)
    assert len(whole) > 5
    assert whole == sorted(set(whole))
    assert blocks(977) == whole
