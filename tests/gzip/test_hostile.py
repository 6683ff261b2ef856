"""Damaged, forged and oversized input: stored as it came or `Corrupt`, never a crash, wrong bytes or much memory."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from reducto.errors import Corrupt
from reducto.gzip import GzipRecipe, UnframeLimits, open_unframer, recipe_from_bytes
from reducto.model import Reason, Stored
from tests.gzip import samples
from tests.gzip.helpers import PlainBytes, assert_exact, unframe

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "gzip").glob("go-*-level[16].gz"))


def go_file(level: int = 6) -> bytes:
    return next(path for path in GOLDEN if path.stem.endswith(f"level{level}")).read_bytes()


@pytest.mark.parametrize("level", [1, 6])
def test_flipped_bytes_are_exact_or_stored(level: int) -> None:
    wire = go_file(level)
    rng = random.Random(level)
    for _ in range(60):
        damaged = bytearray(wire)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        outcome, plain = unframe(bytes(damaged), seed=rng.randrange(100))
        if isinstance(outcome, GzipRecipe):
            assert b"".join(outcome.rebuild(PlainBytes(plain))) == bytes(damaged)


def test_truncated_files_are_stored() -> None:
    wire = go_file()
    for length in [*range(3, 40), 5_000, len(wire) - 9, len(wire) - 8, len(wire) - 1]:
        outcome, _ = unframe(wire[:length])
        assert isinstance(outcome, Stored), length
        assert outcome.reason is Reason.CORRUPT_GZIP


def test_wrong_trailer_comes_back_as_it_was() -> None:
    wire = go_file()[:-8] + b"\1\2\3\4\5\6\7\x08"
    outcome, plain = unframe(wire)
    assert isinstance(outcome, GzipRecipe)
    assert b"".join(outcome.rebuild(PlainBytes(plain))) == wire


def test_forged_recipes_never_crash() -> None:
    wire = go_file()
    outcome, plain = unframe(wire)
    assert isinstance(outcome, GzipRecipe)
    body = bytes([1, 0]) + outcome._body()
    rng = random.Random(5)
    assert b"".join(recipe_from_bytes(body).rebuild(PlainBytes(plain))) == wire
    for _ in range(300):
        forged = bytearray(body)
        for _ in range(rng.choice((1, 2, 5))):
            forged[rng.randrange(len(forged))] = rng.randrange(256)
        try:
            recipe = recipe_from_bytes(bytes(forged))
        except Corrupt:
            continue
        if recipe.plain_length > len(plain):
            continue
        try:
            b"".join(recipe.rebuild(PlainBytes(plain)))
        except Corrupt:
            continue


def test_every_cut_of_a_recipe_is_corrupt() -> None:
    outcome, _ = unframe(go_file())
    assert isinstance(outcome, GzipRecipe)
    for data in (outcome.to_bytes(), bytes([1, 0]) + outcome._body()):
        for length in range(len(data)):
            with pytest.raises(Corrupt):
                recipe_from_bytes(data[:length])
        with pytest.raises(Corrupt):
            recipe_from_bytes(data + b"\0")


def test_unknown_model_and_version_are_named() -> None:
    outcome, _ = unframe(go_file())
    assert isinstance(outcome, GzipRecipe)
    body = outcome._body()
    with pytest.raises(Corrupt, match="version"):
        recipe_from_bytes(bytes([1, 0, 9]) + body[1:])
    with pytest.raises(Corrupt, match="unknown kind"):
        recipe_from_bytes(b"\x07")


def test_plain_limit_stores() -> None:
    wire = gzip.compress(samples.constant(50_000_000), 6)
    outcome, plain = unframe(wire, limits=UnframeLimits(plain_limit_bytes=20_000_000))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.PLAIN_LIMIT
    assert len(plain) <= 20_000_000


def test_header_limit_stores() -> None:
    wire = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 300_000 + b"\0" + go_file()[10:]
    outcome, _ = unframe(wire)
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.CORRUPT_GZIP


def test_trailing_limit_stores() -> None:
    outcome, _ = unframe(go_file() + samples.noise(2_000_000))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.RECIPE_TOO_LARGE


def test_one_endless_block_stores() -> None:
    """A block longer than the limit leaves nowhere to cut."""
    wire = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + _fixed_zeros(40_000_000 // 258) + struct.pack("<II", 0, 0)
    assert zlib.decompressobj(31).decompress(wire, 1000) == bytes(1000)
    outcome, _ = unframe(wire, limits=UnframeLimits(block_limit_bytes=16 << 20))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.NO_ENCODER_MODEL


def _fixed_zeros(matches: int) -> bytes:
    """One final fixed block: literal 0, then ``matches`` times (258, 1)."""
    value, used, out = 0, 0, bytearray()

    def put(code: int, length: int, *, reverse: bool = False) -> None:
        nonlocal value, used
        if reverse:
            code = int(f"{code:0{length}b}"[::-1], 2)
        value |= code << used
        used += length
        while used >= 8:
            out.append(value & 0xFF)
            value >>= 8
            used -= 8

    put(0b011, 3)
    put(0b00110000, 8, reverse=True)
    one = (0b11000101, 8), (0, 5)  # length symbol 285, distance symbol 0
    for _ in range(matches):
        for code, length in one:
            put(code, length, reverse=True)
    put(0, 7)
    if used:
        out.append(value & 0xFF)
    return bytes(out)


def test_many_empty_blocks_store() -> None:
    """Sync markers make wire bytes without plain ones."""
    wire = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 200_000 + b"\x03\0" + bytes(8)
    outcome, plain = unframe(wire)
    assert isinstance(outcome, Stored)
    assert plain == b""


def test_nothing_is_handed_out_after_refusal() -> None:
    unframer = open_unframer(b"\x1f\x8b\x08", None, UnframeLimits(plain_limit_bytes=10))
    pieces: list[bytes] = []
    for _ in range(3):
        unframer.feed(gzip.compress(b"x" * 100), lambda piece: pieces.append(bytes(piece)))
    assert pieces == []
    assert isinstance(unframer.finish(), Stored)


@pytest.mark.parametrize("extra", ["name", "extra", "comment", "crc", "all"])
def test_every_header_field_comes_back(extra: str) -> None:
    flags, fields = 0, b""
    if extra in ("extra", "all"):
        flags, fields = flags | 4, fields + struct.pack("<H", 5) + b"abcde"
    if extra in ("name", "all"):
        flags, fields = flags | 8, fields + b"layer.tar\0"
    if extra in ("comment", "all"):
        flags, fields = flags | 16, fields + b"a comment\0"
    if extra in ("crc", "all"):
        flags, fields = flags | 2, fields + b"\x12\x34"
    wire = b"\x1f\x8b\x08" + bytes([flags]) + b"\1\2\3\4\2\3" + fields + go_file()[10:]
    _, plain = unframe(go_file())
    assert_exact(None, plain, wire)


def test_many_members_and_trailing_bytes() -> None:
    parts = [samples.words(length, length) for length in (0, 1, 50, 7_000, 0, 90_000)] * 20
    wire = b"".join(go_file()[:10] + zlib.compress(part, 6)[2:-4] + _trailer(part) for part in parts)
    exact = assert_exact(None, b"".join(parts), wire + b"trailing")
    assert len(exact.recipe.members) == len(parts)


def _trailer(plain: bytes) -> bytes:
    return struct.pack("<II", zlib.crc32(plain), len(plain))


@pytest.mark.slow
def test_ten_gigabyte_bomb_stays_within_memory() -> None:
    """Ten GB in ten MB, in a process of its own so that its peak can be read."""
    script = """
import zlib
from pathlib import Path
from reducto.gzip import UnframeLimits, open_unframer

unframer = open_unframer(b"\\x1f\\x8b\\x08", None, UnframeLimits(plain_limit_bytes=4 << 30))
packer = zlib.compressobj(9, zlib.DEFLATED, 31)
seen = 0

def sink(piece):
    global seen
    seen += len(piece)

for _ in range(10_000):
    unframer.feed(packer.compress(bytes(1 << 20)), sink)
    if unframer.refused:
        break
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(unframer.finish().reason, seen, peak)
"""
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert out[0] == "plain-limit"
    assert int(out[1]) <= 4 << 30
    assert int(out[2]) < 100 << 10  # KiB
