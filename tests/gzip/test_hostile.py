"""Damaged, forged and oversized input is stored as it came or `Corrupt`: no crash, no wrong bytes, little memory."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from reducto.errors import Corrupt
from reducto.gzip import ContainerLimits, GzipRecipe, open_container, recipe_from_bytes
from reducto.values import Reason, Stored
from tests.gzip import samples
from tests.gzip.helpers import PlainBytes, assert_exact, read_container

FILES = Path(__file__).parent.parent / "golden" / "gzip"
GOLDEN = sorted(FILES.glob("go-*-level[16].gz"))
#: One file of each way to write a stream, whose recipes are forged.
FAMILIES = ("go-1.26-level6", "go-1.27-level6", "pgzip-1.15.12-level5", "klauspost-1.15.12-level9", "zlib-*-level6",
            "zlib-*-window9-level1", "gnu-gzip-*-level6", "gnu-gzip-*-rsyncable6", "pigz-*-level6", "pigz-*-level1",
            "pigz-*-rsyncable-level6", "pigz-*-independent-level6", "node-*-level6")  # fmt: skip


def go_file(level: int = 6) -> bytes:
    return next(path for path in GOLDEN if path.stem.endswith(f"level{level}")).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 6])
def test_flipped_bytes_are_exact_or_stored(level: int) -> None:
    wire = go_file(level)
    rng = random.Random(level)
    for _ in range(60):
        damaged = bytearray(wire)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        outcome, plain = read_container(bytes(damaged), seed=rng.randrange(100))
        if isinstance(outcome, GzipRecipe):
            assert b"".join(outcome.rebuild(PlainBytes(plain))) == bytes(damaged)


def test_truncated_files_are_stored() -> None:
    wire = go_file()
    for length in [*range(3, 40), 5_000, len(wire) - 9, len(wire) - 8, len(wire) - 1]:
        outcome, _ = read_container(wire[:length])
        assert isinstance(outcome, Stored), length
        assert outcome.reason is Reason.CORRUPT_GZIP


def test_wrong_trailer_comes_back_as_it_was() -> None:
    wire = go_file()[:-8] + b"\1\2\3\4\5\6\7\x08"
    outcome, plain = read_container(wire)
    assert isinstance(outcome, GzipRecipe)
    assert b"".join(outcome.rebuild(PlainBytes(plain))) == wire


@pytest.mark.parametrize("family", FAMILIES)
def test_forged_recipes_never_crash(family: str) -> None:
    """Random corrections and impossible member parameters give another stream or `Corrupt`, in bounded time."""
    wire = next(iter(sorted(FILES.glob(f"{family}.gz")))).read_bytes()
    outcome, plain = read_container(wire)
    assert isinstance(outcome, GzipRecipe)
    body = bytes([1, 0]) + outcome._body()
    rng = random.Random(5)
    assert b"".join(recipe_from_bytes(body).rebuild(PlainBytes(plain))) == wire
    for _ in range(60):
        forged = bytearray(body)
        for _ in range(rng.choice((1, 2, 5))):
            forged[rng.randrange(len(forged))] = rng.randrange(256)
        rebuild_or_corrupt(bytes(forged), plain)
    for param in (1, 2, 32_767, 32_768, 65_535, 1 << 20, 0xFFFFFFFF):
        choices = [replace(choice, member_param=param) for choice in outcome.choices]
        forged_recipe = GzipRecipe(len(wire), len(plain), choices, outcome.members, outcome.trailing)
        rebuild_or_corrupt(forged_recipe.to_bytes(), plain)


def rebuild_or_corrupt(data: bytes, plain: bytes) -> None:
    """`Corrupt` is the only exception, and never more bytes come out than the recipe states."""
    try:
        recipe = recipe_from_bytes(data)
        if recipe.plain_length <= len(plain):
            assert len(b"".join(recipe.rebuild(PlainBytes(plain)))) <= recipe.wire_length
    except Corrupt:
        pass


def test_every_cut_of_a_recipe_is_corrupt() -> None:
    outcome, _ = read_container(go_file())
    assert isinstance(outcome, GzipRecipe)
    for data in (outcome.to_bytes(), bytes([1, 0]) + outcome._body()):
        for length in range(len(data)):
            with pytest.raises(Corrupt):
                recipe_from_bytes(data[:length])
        with pytest.raises(Corrupt):
            recipe_from_bytes(data + b"\0")


def test_unknown_model_and_version_are_named() -> None:
    outcome, _ = read_container(go_file())
    assert isinstance(outcome, GzipRecipe)
    body = outcome._body()
    with pytest.raises(Corrupt, match="version"):
        recipe_from_bytes(bytes([1, 0, 9]) + body[1:])
    with pytest.raises(Corrupt, match="unknown kind"):
        recipe_from_bytes(b"\x07")


def test_plain_limit_stores() -> None:
    wire = gzip.compress(samples.constant(50_000_000), 6)
    outcome, plain = read_container(wire, limits=ContainerLimits(plain_limit_bytes=20_000_000))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.PLAIN_LIMIT
    assert len(plain) <= 20_000_000


def test_header_limit_stores() -> None:
    wire = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 300_000 + b"\0" + go_file()[10:]
    outcome, _ = read_container(wire)
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.CORRUPT_GZIP


def test_trailing_limit_stores() -> None:
    outcome, _ = read_container(go_file() + samples.noise(2_000_000))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.RECIPE_TOO_LARGE


def test_one_endless_block_stores() -> None:
    """In a block longer than the limit no segment can end."""
    wire = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + _fixed_zeros(40_000_000 // 258) + struct.pack("<II", 0, 0)
    assert zlib.decompressobj(31).decompress(wire, 1000) == bytes(1000)
    outcome, _ = read_container(wire, limits=ContainerLimits(block_limit_bytes=16 << 20))
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
    """Sync markers are wire bytes without plain bytes."""
    wire = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 200_000 + b"\x03\0" + bytes(8)
    outcome, plain = read_container(wire)
    assert isinstance(outcome, Stored)
    assert plain == b""


def test_nothing_is_handed_out_after_refusal() -> None:
    reader = open_container(b"\x1f\x8b\x08", None, ContainerLimits(plain_limit_bytes=10))
    pieces: list[bytes] = []
    for _ in range(3):
        reader.feed(gzip.compress(b"x" * 100), lambda piece: pieces.append(bytes(piece)))
    assert pieces == []
    assert isinstance(reader.finish(), Stored)


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
    _, plain = read_container(go_file())
    assert_exact(None, plain, wire)


def test_many_members_and_trailing_bytes() -> None:
    parts = [samples.words(length, length) for length in (0, 1, 50, 7_000, 0, 90_000)] * 20
    wire = b"".join(go_file()[:10] + zlib.compress(part, 6)[2:-4] + _trailer(part) for part in parts)
    exact = assert_exact(None, b"".join(parts), wire + b"trailing")
    assert len(exact.recipe.members) == len(parts)


def _trailer(plain: bytes) -> bytes:
    return struct.pack("<II", zlib.crc32(plain), len(plain))


BOMB_PLAIN_BYTES = 10_000 << 20


def bomb() -> bytes:
    """10 GB of zeros in 10 MB. They are made quickly, because each MiB with a flush gives the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH) for _ in range(2)]
    trailer = struct.pack("<II", 0, BOMB_PLAIN_BYTES & 0xFFFFFFFF)
    return pieces[0] + pieces[1] * (BOMB_PLAIN_BYTES // (1 << 20) - 1) + b"\x03\0" + trailer


@pytest.mark.slow
def test_ten_gigabyte_bomb_is_stored_within_memory_and_time(tmp_path: Path) -> None:
    """With the default limits, in a process of its own so that its peak of memory can be read."""
    file = tmp_path / "bomb.gz"
    file.write_bytes(bomb())
    assert 10_000_000 < file.stat().st_size < 11_000_000
    script = """
import sys
from pathlib import Path
from reducto.gzip import open_container

wire = Path(sys.argv[1]).read_bytes()
reader = open_container(wire[:16])
seen = 0

def sink(piece):
    global seen
    seen += len(piece)

for at in range(0, len(wire), 1 << 16):
    reader.feed(wire[at:at + (1 << 16)], sink)
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(reader.finish().reason, seen, peak)
"""
    reason, seen, peak = subprocess.run(
        [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    assert reason == "plain-limit"
    assert int(seen) <= ContainerLimits().expansion_floor_bytes
    assert int(peak) < 120 << 10  # KiB, the file's ten MB and the interpreter included
    print(f"bomb: given up after {int(seen) >> 20} MiB of plain bytes, peak {int(peak) >> 10} MiB")


def test_much_expansion_alone_is_no_bomb() -> None:
    """Sparse data up to the floor is reduced whatever its expansion; beyond the floor the expansion is limited."""
    wire = gzip.compress(samples.constant(30_000_000), 9)
    outcome, plain = read_container(wire)
    assert isinstance(outcome, GzipRecipe)
    assert b"".join(outcome.rebuild(PlainBytes(plain))) == wire
    outcome, _ = read_container(wire, limits=ContainerLimits(expansion_floor_bytes=10_000_000))
    assert isinstance(outcome, Stored)
    assert outcome.reason is Reason.PLAIN_LIMIT
    words = samples.words(3_000_000)
    outcome, _ = read_container(gzip.compress(words, 9), limits=ContainerLimits(expansion_floor_bytes=1_000_000))
    assert isinstance(outcome, GzipRecipe)
