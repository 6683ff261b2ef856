"""What surrounds deflate streams (RFC 1952): members, header fields, trailing bytes; and encoders without a model."""

from __future__ import annotations

import gzip
import importlib
import struct
import subprocess
import zlib

import pytest

from reducto.gzip import GzipRecipe
from tests.gzip import samples
from tests.gzip.helpers import PlainBytes, assert_exact, read_container
from tests.gzip.oracles_zlib import deflate
from tests.support.requirements import require_tool

FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16


def member(plain: bytes, flags: int = 0, level: int = 6) -> bytes:
    """One member with the optional fields that ``flags`` asks for."""
    header = bytearray(b"\x1f\x8b\x08" + bytes([flags]) + struct.pack("<I", 1_700_000_000) + b"\x00\x03")
    if flags & FEXTRA:
        field = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % len(plain)
        header += struct.pack("<H", len(field)) + field
    if flags & FNAME:
        header += b"layer\xe9.tar\0"
    if flags & FCOMMENT:
        header += b"a comment\0"
    if flags & FHCRC:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    body = deflate(level)(plain)[10:]
    return bytes(header) + body


@pytest.mark.parametrize("flags", range(32))
def test_every_combination_of_header_fields(flags: int) -> None:
    plain = samples.archive(60_000)
    assert_exact("zlib-level-6", plain, member(plain, flags), seed=flags)


def test_a_member_for_each_file_as_in_estargz() -> None:
    archive, pieces = samples.archive(3_000_000), []
    for start in range(0, len(archive), 37_000):
        pieces.append(member(archive[start : start + 37_000], 0, 9))
    footer = member(b"", FEXTRA, 9)
    exact = assert_exact("zlib-level-9", archive, b"".join(pieces) + footer)
    assert len(exact.recipe.members) == len(pieces) + 1
    assert exact.correction_bytes == 0


def test_members_of_different_encoders() -> None:
    first, second = samples.archive(200_000), samples.words(200_000)
    wire = member(first, FNAME, 6) + gzip.compress(second, 1) + member(b"") + member(first, 0, 9)
    assert assert_exact(None, first + second + first, wire).correction_bytes == 0


@pytest.mark.parametrize("tail", [b"\0", bytes(10_000), b"\x1f", b"\x1f\x8b", b"not gzip", samples.noise(3_000)])
def test_bytes_behind_the_last_trailer(tail: bytes) -> None:
    plain = samples.archive(60_000)
    assert_exact("zlib-level-6", plain, member(plain) + tail)


@pytest.mark.parametrize("block_bytes", [0, 1, 5, 4_096, 65_535])
def test_stored_blocks_of_any_length(block_bytes: int) -> None:
    plain = samples.archive(150_000)[: max(1, block_bytes) * 40]
    pieces = [plain[at : at + max(1, block_bytes)] for at in range(0, len(plain), max(1, block_bytes))]
    if block_bytes == 0:
        pieces = [b"", *pieces, b"", b""]
    body = bytearray()
    for number, piece in enumerate(pieces):
        final = number == len(pieces) - 1
        body += struct.pack("<BHH", final, len(piece), len(piece) ^ 0xFFFF) + piece
    trailer = struct.pack("<II", zlib.crc32(plain), len(plain))
    wire = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + bytes(body) + trailer
    outcome, found = read_container(wire)
    assert found == plain
    if isinstance(outcome, GzipRecipe):
        assert b"".join(outcome.rebuild(PlainBytes(plain))) == wire


def exact_or_stored(plain: bytes, wire: bytes) -> None:
    """A blob with a recipe rebuilds, and the recipe is short; any other blob is stored as it came."""
    outcome, found = read_container(wire)
    if isinstance(outcome, GzipRecipe):
        assert found == plain
        assert b"".join(outcome.rebuild(PlainBytes(plain))) == wire
        assert len(outcome.to_bytes()) <= len(wire) // 100 + 256


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("module", ["zlib_ng.zlib_ng", "isal.isal_zlib"])
def test_forks_of_zlib_are_exact_or_stored(module: str, level: int) -> None:
    fork = importlib.import_module(module)
    plain = samples.archive(1_500_000)
    compressor = fork.compressobj(min(level, 3) if "isal" in module else level, wbits=31)
    exact_or_stored(plain, compressor.compress(plain) + compressor.flush())


@pytest.mark.integration
@pytest.mark.parametrize("level", [1, 6, 9, 12])
def test_libdeflate_is_exact_or_stored(level: int) -> None:
    require_tool("libdeflate-gzip")
    plain = samples.archive(1_500_000)
    command = ["libdeflate-gzip", "-c", f"-{level}"]
    exact_or_stored(plain, subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout)
