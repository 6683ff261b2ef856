"""Short input that claims to hold much is refused before memory is taken for it."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

from reducto import varint
from reducto.codec import BlobEncoder, EncodeOptions, FixedSelector
from reducto.codec import instructions as codec_instructions
from reducto.codec import packed as codec_packed
from reducto.codec.frames import DELTA_BASE_LIMIT_BYTES
from reducto.codec.instructions import BlobMeta, Instructions
from reducto.codec.packed import ENTRIES_LIMIT, FRAMES_LIMIT, PackedTable
from reducto.errors import Corrupt, LimitExceeded
from reducto.kernel.matching import OPERATIONS_LIMIT
from reducto.values import Reason, Stored
from tests.codec.samples import words

MEMORY_BYTES = 400 << 20


@contextmanager
def little_memory(limit_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


def packed_with(table: bytes) -> bytes:
    """A packed corpus without frames' bytes whose table decompresses to ``table``."""
    stored = zstandard.ZstdCompressor(level=1).compress(table)
    return struct.pack("<8sHHI32s", codec_packed.MAGIC, 1, 0, len(stored), blake3(stored).digest()) + stored


def table_of(frames: int = 0, members: int = 0, anchors: int = 0, rest: bytes = b"") -> bytes:
    out = bytearray()
    varint.put_numbers(out, 0, 8192, 0)
    varint.put_numbers(out, 0, 1, frames, members, anchors)
    return bytes(out) + bytes(32) + rest


def twins_of(length: int, count: int) -> bytes:
    out = bytearray()
    varint.put_numbers(out, 2, 0, 0, count)
    for _ in range(count):
        varint.put_numbers(out, 1, 0, length)
    return bytes(out)


TABLES: dict[str, Callable[[], bytes]] = {
    "a table of gigabytes": lambda: bytes(codec_packed._TABLE_LIMIT_BYTES + 1),
    "frames": lambda: table_of(frames=FRAMES_LIMIT + 1, rest=bytes(4 * FRAMES_LIMIT + 4)),
    "members": lambda: table_of(members=ENTRIES_LIMIT + 1, rest=bytes(9 * ENTRIES_LIMIT + 9)),
    "anchors": lambda: table_of(anchors=ENTRIES_LIMIT + 1, rest=bytes(ENTRIES_LIMIT + 1)),
    "members and anchors": lambda: table_of(
        members=ENTRIES_LIMIT // 2 + 1, anchors=ENTRIES_LIMIT // 2, rest=bytes(5 * ENTRIES_LIMIT + 99)
    ),
    "a prefix of gigabytes": lambda: table_of(frames=1, rest=twins_of(DELTA_BASE_LIMIT_BYTES // 4 + 1, 4)),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_packed_corpus_cannot_claim_too_much(what: str) -> None:
    data = packed_with(TABLES[what]())
    assert len(data) < 20_000
    with little_memory(), pytest.raises(Corrupt, match=r"at most|more than"):
        PackedTable.parse(data)


def instructions_with(columns: bytes, lengths: tuple[int, int, int]) -> bytes:
    meta = BlobMeta(1, "a", 1, "b", "identity", (None,)).to_bytes()
    operations = struct.pack("<3Q", *lengths) + zstandard.ZstdCompressor(level=1).compress(columns)
    bodies = ((codec_instructions.SectionKind.META, meta), (codec_instructions.SectionKind.OPERATIONS, operations))
    rows = b"".join(struct.pack("<IIQ32s", kind, 0, len(body), blake3(body).digest()) for kind, body in bodies)
    head = struct.pack("<8sHHHH", codec_instructions.MAGIC, codec_instructions.VERSION, 0, 2, 0) + rows
    return head + blake3(head).digest() + meta + operations


@pytest.mark.parametrize("count", [OPERATIONS_LIMIT + 1, codec_instructions._COLUMNS_LIMIT_BYTES + 1])
def test_instructions_cannot_claim_too_much(count: int) -> None:
    data = instructions_with(b"\1" * count + bytes(count), (count, count, 0))  # each operation is one new byte
    assert len(data) < 40_000
    with little_memory(), pytest.raises(Corrupt, match=r"at most|more than"):
        Instructions.parse(data)


def test_what_a_reader_would_refuse_is_stored_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = EncodeOptions(gate=False, minimum_gain=-1e9)
    for module, name in ((codec_instructions, "OPERATIONS_LIMIT"), (codec_packed, "FRAMES_LIMIT")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 0)
            encoder = BlobEncoder(FixedSelector([]), tmp_path, options)
            encoder.feed(words(50_000))
            outcome = encoder.finish()
            encoder.close()
        assert isinstance(outcome, Stored)
        assert outcome.reason is Reason.PLAIN_LIMIT


def test_a_table_that_nobody_would_read_is_not_written() -> None:
    index = codec_packed.IndexInputs(codec_packed.ChunkParams(), anchors=tuple(range(ENTRIES_LIMIT + 1)))
    corpus = PackedTable(0, b"", b"", (), (), index)
    with pytest.raises(LimitExceeded):
        codec_packed.write_packed(io.BytesIO(), corpus, io.BytesIO())
