"""zstd frames that refer to a prefix are the same that `zstandard` makes, and the prefix is not copied."""

from __future__ import annotations

import gc
import io
import random

import pytest
import zstandard

from reducto.codec import zstd_prefix
from reducto.codec.frames import delta_parameters
from reducto.kernel.buffers import copied

WINDOW_LOG = 27


@pytest.fixture(params=["told", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With zstandard's CFFI binding, and without it."""
    if request.param == "copied":
        monkeypatch.setattr(zstd_prefix, "lib", None)
    else:
        assert zstd_prefix.lib is not None
    return str(request.param)


def related(length: int, seed: int = 1) -> tuple[bytes, bytes]:
    """A prefix, and data most of which is in it."""
    rng = random.Random(seed)
    prefix = rng.randbytes(length)
    pieces = []
    for _ in range(40):
        at = rng.randrange(max(1, length - 3000))
        pieces.append(prefix[at : at + rng.randrange(3000)] + rng.randbytes(rng.randrange(60)))
    return prefix, b"".join(pieces)


def read_all(stored: bytes | memoryview, prefix: bytes | memoryview, length: int, step: int) -> bytes:
    reader, out = zstd_prefix.open_reader(io.BytesIO(stored), prefix, WINDOW_LOG), bytearray(length)
    at = 0
    while at < length:
        got = reader.readinto(memoryview(out)[at : at + step])
        assert got
        at += got
    assert reader.readinto(memoryview(bytearray(1))) == 0
    return bytes(out)


@pytest.mark.parametrize("level", [1, 3, 9, 15])
@pytest.mark.parametrize("length", [0, 1000, 300_000])
def test_frames_are_those_of_zstandard(way: str, level: int, length: int) -> None:
    prefix, data = related(length)
    parameters = delta_parameters(level, len(prefix) + len(data))
    dictionary = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    expected = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(data)
    made = zstd_prefix.compress(data, prefix, parameters)
    assert bytes(made) == expected
    assert len(made) < len(data) / 2 or length < 300_000
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << WINDOW_LOG)
    assert decompressor.decompress(made) == data


@pytest.mark.parametrize("step", [1, 777, 1 << 20])
def test_frames_are_read_in_pieces(way: str, step: int) -> None:
    prefix, data = related(20_000)
    data = data[: 40 * step]
    around = memoryview(b"before" + prefix + b"behind")
    made = zstd_prefix.compress(data, around[6:-6], delta_parameters(9, 1 << 20))
    assert read_all(made, around[6:-6], len(data), step) == data


def test_a_reader_keeps_its_prefix(way: str) -> None:
    prefix, data = related(3 << 20)
    stored = bytes(zstd_prefix.compress(data, prefix, delta_parameters(1, len(prefix) + len(data))))
    reader = zstd_prefix.open_reader(io.BytesIO(stored), copied([prefix])[:], WINDOW_LOG)
    gc.collect()
    others = [copied([bytes(3 << 20)]) for _ in range(4)]  # would get the memory of a prefix that was freed
    out = bytearray(len(data))
    assert reader.readinto(memoryview(out)) == len(data)
    assert bytes(out) == data
    assert len(others) == 4


def test_the_end_of_the_source_is_the_end(way: str) -> None:
    prefix, data = related(20_000)
    made = bytes(zstd_prefix.compress(data, prefix, delta_parameters(1, 1 << 20)))
    out = bytearray(len(data))
    reader = zstd_prefix.open_reader(io.BytesIO(made[: len(made) // 2]), prefix, WINDOW_LOG)
    got = reader.readinto(memoryview(out))
    while more := reader.readinto(memoryview(out)[got:]):
        got += more
    assert got < len(data)
    assert out[:got] == data[:got]


def test_damage_is_an_error(way: str) -> None:
    prefix, data = related(20_000)
    made = bytearray(zstd_prefix.compress(data, prefix, delta_parameters(1, 1 << 20)))
    made[:4] = b"\0\1\2\3"
    with pytest.raises(zstandard.ZstdError):
        zstd_prefix.open_reader(io.BytesIO(made), prefix, WINDOW_LOG).readinto(memoryview(bytearray(len(data))))


def test_a_window_may_not_exceed_its_limit(way: str) -> None:
    data = random.Random(2).randbytes(200_000)
    stream = zstandard.ZstdCompressor(level=1).compressobj()  # its frame does not state its length
    made = stream.compress(data) + stream.flush()
    with pytest.raises(zstandard.ZstdError):
        zstd_prefix.open_reader(io.BytesIO(made), b"prefix", 10).readinto(memoryview(bytearray(len(data))))
