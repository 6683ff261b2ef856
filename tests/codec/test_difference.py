"""DIFFERENCE frames are used where they are shorter, read in pieces, refused when damaged, and kept by repacking."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from reducto import varint
from reducto.codec import BlobEncoder, EncodeOptions, FixedSelector, Reduced
from reducto.codec.difference_frame import DIFFERENCE_LIMIT_BYTES, compress_difference
from reducto.codec.frame_reader import FrameReader, prove_frame
from reducto.codec.frames import Frame, FrameKind, compress_against, compress_delta
from reducto.codec.packed import PackedTable
from reducto.codec.repack import repack
from reducto.codec.unpacked import UnpackedCorpus
from reducto.corpus.reader import Corpus
from reducto.errors import Corrupt, ProofFailed
from reducto.kernel.difference import COLUMNS
from reducto.values import ByteRange
from tests.codec.samples import decode, encode, make_corpus, make_tar, program, words
from tests.golden.packed.make import GOLDEN, golden_corpora, golden_plain

OLD, NEW = program(9000), program(9000, shift=0x35200)


def layer(content: bytes) -> bytes:
    """A tar with one member, whose path finds the delta base."""
    return make_tar({"usr/bin/app": content})


def pack(blob: bytes, old: Corpus, spool: Path, level: int) -> bytes:
    encoder = BlobEncoder(
        FixedSelector([old]), spool, EncodeOptions(gate=False, inline_bytes=0, compression_level=level)
    )
    encoder.feed(blob)
    reduced = encoder.finish()
    assert isinstance(reduced, Reduced)
    assert reduced.packed_corpus is not None
    packed = reduced.packed_corpus.read_bytes()
    encoder.close()
    return packed


def kinds(packed: bytes) -> list[FrameKind]:
    return [frame.kind for frame in PackedTable.parse(packed)[0].frames]


@pytest.fixture
def old(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "old.rc", layer(OLD))


def test_programs_whose_addresses_moved(old: Corpus, tmp_path: Path) -> None:
    packed = pack(layer(NEW), old, tmp_path, 9)
    assert kinds(packed) == [FrameKind.DIFFERENCE, FrameKind.DIFFERENCE]
    assert len(packed) < 0.7 * len(compress_delta(NEW, OLD, 9))
    data = encode(layer(NEW), [old], tmp_path)
    assert isinstance(data, bytes)
    assert decode(data, [old], tmp_path) == layer(NEW)
    assert decode(data, [old], tmp_path, ByteRange(700_000, 700_100)) == layer(NEW)[700_000:700_100]


def test_a_push_takes_no_time_for_them(old: Corpus, tmp_path: Path) -> None:
    assert set(kinds(pack(layer(NEW), old, tmp_path, 3))) == {FrameKind.DELTA}


def test_text_is_compressed_against_its_twins() -> None:
    """Old pieces in another order have too many differences."""
    lines = words(200_000).split(b" ")
    random.Random(1).shuffle(lines)
    assert compress_against(b" ".join(lines), words(200_000), 9)[0] is FrameKind.DELTA


def test_what_is_longer_than_a_reader_would_hold_is_a_delta() -> None:
    data = bytes(DIFFERENCE_LIMIT_BYTES + 1)
    assert compress_against(data, data[:1000], 9)[0] is FrameKind.DELTA


def test_it_is_read_in_any_pieces() -> None:
    made = compress_difference(NEW, OLD, 9)
    assert made is not None
    reader, out = FrameReader(FrameKind.DIFFERENCE, made[0], OLD, len(NEW)), bytearray(len(NEW))
    at, rng = 0, random.Random(3)
    while at < len(NEW):
        step = min(rng.choice([1, 999, 70_000]), len(NEW) - at)
        reader.read_into(memoryview(out)[at : at + step])
        at += step
    assert out == NEW
    with pytest.raises(Corrupt):
        reader.read_into(memoryview(bytearray(1)))


def test_bytes_on_their_way_are_waited_for() -> None:
    stored, waited = compress_difference(NEW, OLD, 9), []
    assert stored is not None
    reader = FrameReader(FrameKind.DIFFERENCE, stored[0], OLD, len(NEW), waited.append)
    assert not waited
    reader.read_into(memoryview(bytearray(10)))
    assert waited == [len(stored[0])]


def test_damage_is_noticed_or_changes_nothing_outside() -> None:
    """Segment hashes refuse wrong bytes. The reader itself only must not read outside, and may raise `Corrupt`."""
    old, new = program(60), program(60, shift=0x700)
    made = compress_difference(new, old, 9)
    assert made is not None
    for at in range(len(made[0])):
        for damaged in (made[0][:at], made[0][:at] + bytes([made[0][at] ^ 0x41]) + made[0][at + 1 :]):
            with contextlib.suppress(Corrupt, ProofFailed):
                prove_frame(FrameKind.DIFFERENCE, damaged, old, new)
    with pytest.raises(Corrupt, match="longer"):
        prove_frame(FrameKind.DIFFERENCE, made[0] + b"x", old, new)


def test_columns_cannot_claim_too_much() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 30))
    head = bytearray()
    varint.put_numbers(head, *[len(bomb)] * COLUMNS)
    with pytest.raises(Corrupt, match="at most"):
        FrameReader(FrameKind.DIFFERENCE, bytes(head) + bomb * COLUMNS, OLD, 1000).read_into(memoryview(bytearray(1)))


def test_a_table_with_a_longer_one_is_refused() -> None:
    length = DIFFERENCE_LIMIT_BYTES + 1
    frame = Frame(FrameKind.DIFFERENCE, (ByteRange(0, length),), 9)
    table = PackedTable(length, b"", bytes(32 * 17), (), (frame,), PackedTable.parse(GOLDEN.read_bytes())[0].index)
    with pytest.raises(Corrupt, match="difference frame"):
        PackedTable.parse(table.header())


def test_packing_again_finds_differences_and_keeps_them(old: Corpus, tmp_path: Path) -> None:
    at_push = pack(layer(NEW), old, tmp_path, 1)
    repack(memoryview(at_push), {old.id: old}, tmp_path / "9", tmp_path, 9)
    better = (tmp_path / "9").read_bytes()
    assert set(kinds(better)) == {FrameKind.DIFFERENCE}
    assert len(better) < 0.7 * len(at_push)
    repack(memoryview(better), {old.id: old}, tmp_path / "1", tmp_path, 1)
    assert (tmp_path / "1").read_bytes() == better, "what would grow stays as it was"
    assert PackedTable.parse(better)[0].corpus_id == PackedTable.parse(at_push)[0].corpus_id


def test_the_golden_packed_corpus_unpacks(tmp_path: Path) -> None:
    corpora = {corpus.id: corpus for corpus in golden_corpora(tmp_path)}
    unpacked = UnpackedCorpus(memoryview(GOLDEN.read_bytes()), corpora, tmp_path)
    assert [frame.kind for frame in unpacked.table.frames] == list(FrameKind)
    assert unpacked.view(0, unpacked.plain_length) == golden_plain()
